"""Pseudopotentials that users bring along: norm-conserving files in UPF 2, psp8 and PSML, orbitals for them.

content.py what a file says; upf.py, psp8.py, psml.py the formats, reading.py any of them; configuration.py
electrons per l; tabulated.py smooth functions from the tables; rules.py orbitals by the name of a size;
library.py the family "files".
"""
