"""The one table of constants. Atomic units (Hartree, Bohr) inside; conversions happen with these names only.

Values: CODATA 2018 recommended values (Tiesinga et al., Rev. Mod. Phys. 93, 025010 (2021)). ASE's default
table is CODATA 2014; its Hartree differs by 1e-10 relative, so energies agree to 1e-7 eV per keV.
"""

from __future__ import annotations

from typing import Final

BOHR_ANGSTROM: Final = 0.529177210903  # 1 Bohr in Angstrom
OPENMX_BOHR_ANGSTROM: Final = 0.529177249  # 1 Bohr in Angstrom inside OpenMX, for positions that it prints
OPENMX_KELVIN: Final = 8.617251324e-5 / 27.2113845  # k_B * 1 K in Hartree inside OpenMX
HARTREE_EV: Final = 27.211386245988  # 1 Hartree in eV
RYDBERG: Final = 0.5  # 1 Rydberg in Hartree
KELVIN: Final = 3.1668115634556e-6  # k_B * 1 K in Hartree
DEBYE_ANGSTROM: Final = 0.20819433  # 1 Debye in e Angstrom
AMU: Final = 1822.888486209  # 1 unified atomic mass unit in electron masses
FEMTOSECOND: Final = 41.341373335  # 1 fs in atomic units of time

ANGSTROM: Final = 1.0 / BOHR_ANGSTROM  # 1 Angstrom in Bohr
EV: Final = 1.0 / HARTREE_EV  # 1 eV in Hartree
HARTREE_BOHR_EV_ANGSTROM: Final = HARTREE_EV / BOHR_ANGSTROM  # force: 1 Hartree/Bohr in eV/Angstrom
GIGAPASCAL: Final = 1.0 / 29421.015697  # 1 GPa in Hartree/Bohr^3
HARTREE_BOHR3_EV_ANGSTROM3: Final = HARTREE_EV / BOHR_ANGSTROM**3  # stress: 1 Hartree/Bohr^3 in eV/Angstrom^3
EV_ANGSTROM3_GPA: Final = 160.2176634  # stress: 1 eV/Angstrom^3 in GPa
HARTREE_BOHR3_GPA: Final = HARTREE_BOHR3_EV_ANGSTROM3 * EV_ANGSTROM3_GPA  # stress: 1 Hartree/Bohr^3 in GPa
