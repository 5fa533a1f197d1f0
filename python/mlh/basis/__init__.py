"""Species and basis sets: what defines an element, families by name."""
