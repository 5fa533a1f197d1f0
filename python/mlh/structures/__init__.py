"""Where structures come from: crystals, amorphous networks, files, strains, rattles and point defects."""

from __future__ import annotations

from mlh.structures.amorphous import AmorphousRun, amorphous
from mlh.structures.crystals import CRYSTALS, CrystalData, crystal, inequivalent_sites
from mlh.structures.defect_names import DefectName
from mlh.structures.defects import host_to_defect_index, point_defect, point_defects, select_sites, vacancies
from mlh.structures.files import load_structure, load_structures, read_frames, structure_hash, write_structure
from mlh.structures.placed import PlacedDefect, choose_places, placed_defect, vacancy_at
from mlh.structures.rattle import deform, random_strain, rattle, scale_volume, strain
from mlh.structures.recipe import Recipe, load_recipe
from mlh.structures.voids import void_positions

__all__ = [
    "CRYSTALS",
    "AmorphousRun",
    "CrystalData",
    "DefectName",
    "PlacedDefect",
    "Recipe",
    "amorphous",
    "choose_places",
    "crystal",
    "deform",
    "host_to_defect_index",
    "inequivalent_sites",
    "load_recipe",
    "load_structure",
    "load_structures",
    "placed_defect",
    "point_defect",
    "point_defects",
    "random_strain",
    "rattle",
    "read_frames",
    "scale_volume",
    "select_sites",
    "strain",
    "structure_hash",
    "vacancies",
    "vacancy_at",
    "void_positions",
    "write_structure",
]
