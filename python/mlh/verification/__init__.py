"""How good basis sets and pseudopotentials are: equations of state against published ones."""
