"""The commands: their names, the modules that they are in and what they do in one line.

A call imports the module of its command only, and a list of commands none of them: numpy, ASE and PyTorch
cost seconds on a busy machine (tests/test_cli.py holds the lines against the commands).
"""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "scf": (
        "scf",
        "Self-consistent DFT of STRUCTURE: energy contributions, gap, forces, and matrices on request.",
    ),
    "relax": (
        "relax",
        "Relax the atoms of a structure, and with --cell its cell; of several each in a folder of its own.",
    ),
    "md": (
        "md",
        "Molecular dynamics of STRUCTURE at constant energy, or at constant temperature, in a fixed cell.",
    ),
    "neb": (
        "neb",
        "The path of lowest energy from START to END (nudged elastic band, climbing image), and its barrier.",
    ),
    "modes": (
        "modes",
        "Frequencies and modes by central differences of the forces (at the centre of the Brillouin zone).",
    ),
    "amorphous": (
        "amorphous",
        "Melt and quench a network of bonds: every former keeps its bonds, every bridge its two.",
    ),
    "vacancies": (
        "vacancies",
        "Point defects of a host: remove one atom of SPECIES at each chosen site, replace it, or add one.",
    ),
    "defect": (
        "defect",
        "Relax the host and its defects; E_f = E(defect) - E(host) + n (E_ref + mu), n > 0 for removed "
        "atoms.",
    ),
    "ccd": (
        "ccd",
        "Energies of both charges over the configuration coordinate, dQ, and the frequencies of both "
        "minima: arrays for nonrad's get_omega_from_PES, in ccd.json and ccd.png.",
    ),
    "dataset": (
        "dataset",
        "Build data sets of DFT Hamiltonians and look into them.",
    ),
    "train": (
        "train",
        "Train as CONFIG says and write model, metrics, log and learning curve into its output folder.",
    ),
    "evaluate": (
        "evaluate",
        "Mean absolute errors of dH in meV: all elements, on-site, off-site, per pair of elements and "
        "distance.",
    ),
    "accuracy": (
        "accuracy",
        "Errors of a model against DFT: Hamiltonian, density, energy, forces at equal geometries, and "
        "with --relax energies, structures and formation energies of relaxations.",
    ),
    "compare": (
        "compare",
        "With --model: Hamiltonian, energy and forces of the model against DFT at the geometry of STRUCTURE.",
    ),
    "benchmark": (
        "benchmark",
        "Basis sets and pseudopotentials against published numbers.",
    ),
    "demo": (
        "demo",
        "Relax a glass and two vacancies in it with a model, and measure the errors of one against DFT.",
    ),
    "info": (
        "info",
        "This installation, the contents of a matrix file, the quality of a structure, or a basis set.",
    ),
    "models": (
        "models",
        "The models that come with the package; `mlh models show NAME`: what one of them is.",
    ),
    "cite": (
        "cite",
        "BibTeX entries of what SOURCES used, each under its reason: functional, basis, dispersion, "
        "network, ...",
    ),
    "basis": (
        "basis",
        "Orbitals for pseudopotential files (UPF 2, psp8, PSML).",
    ),
    "bands": (
        "bands",
        "Bands of STRUCTURE along a path in the Brillouin zone: PREFIX.json and PREFIX.png.",
    ),
    "dos": (
        "dos",
        "Density of states of STRUCTURE with Mulliken's division: PREFIX.json and PREFIX.png.",
    ),
    "charges": (
        "charges",
        "Mulliken charge (electrons missing), population per angular momentum and moment of every atom.",
    ),
    "density": (
        "density",
        "Density of STRUCTURE on the uniform grid (electrons/Bohr^3): PREFIX.cube, PREFIX-plane.png, ...",
    ),
    "orbitals": (
        "orbitals",
        "States of STRUCTURE on the uniform grid (Bohr^-3/2): PREFIX-b57.cube, PREFIX.json.",
    ),
    "report": (
        "report",
        "Structures, relaxation curves, formation energies, errors, settings and versions in one file "
        "that needs no network.",
    ),
    "export": (
        "export",
        "Charged defects of a run for other codes.",
    ),
    "openmx-input": (
        "openmx",
        "Write an OpenMX 3.9 input for STRUCTURE whose result `mlh dataset import-openmx` can read.",
    ),
}
"""Name on the command line: module of `mlh.commands`, first paragraph of its help."""
