"""Models against DFT: matrix elements, physics, relaxations."""
