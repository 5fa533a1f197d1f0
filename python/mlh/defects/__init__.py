"""Point defects: runs, formation energies, references."""
