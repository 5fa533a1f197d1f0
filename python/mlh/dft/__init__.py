"""The energy as a function of the density matrix: system, terms, integrations."""
