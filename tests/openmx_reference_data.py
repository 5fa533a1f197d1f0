"""Where the reference folder of OpenMX (GPL data, read where it lies) is, and what its runs used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("MLH_OPENMX_DATA", "/nonexistent"))
needs_reference = pytest.mark.skipif(
    not (DATA / "reference.json").is_file(),
    reason="MLH_OPENMX_DATA does not name a folder with OpenMX reference data",
)
SPECIES = {
    "Si": ("Si7.0-s2p2d1", "Si_PBE19"),
    "O": ("O6.0-s2p2d1", "O_PBE19"),
    "H": ("H6.0-s2p1", "H_PBE19"),
}
RUNS = ("h2o", "h2o_sp", "h2o_vnag", "si2", "qtz9")
CHARGES = {"h2o_q1": 1.0, "h2o_qm1": -1.0, "qtz9_q2": 2.0, "qtz9_q1": 1.0}
"""Charges of the runs with a charge."""
