"""Block-sparse matrices between atomic orbitals, and k points."""
