"""Terms of the energy: the contract (`contract.py`), one file per kind, one list per integration method."""
