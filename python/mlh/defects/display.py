"""What a notebook shows of a run of defects."""

from __future__ import annotations

from mlh.common.html import Section
from mlh.defects.formation import CONVENTION
from mlh.defects.run import DefectRun
from mlh.relaxation.display import outcome_text


def run_html(run: DefectRun) -> str:
    """Host and defects with their formation energies, and what failed."""
    rows = [("host", "", outcome_text(run.host))]
    for defect in run.defects:
        # Of a charged defect the reservoir of the electrons is missing: see the diagram.
        energy = "" if defect.case.charge else f"{defect.formation_energy:.4f}"
        rows.append((defect.case.folder(run.folder).name, energy, outcome_text(defect.result)))
    rows += [(str(case), "", f"failed: {reason}") for case, reason in run.failures.items()]
    head = ("defect", "formation energy, eV", "relaxation")
    return Section(run.host_start.get_chemical_formula(), rows, head, CONVENTION).as_html()
