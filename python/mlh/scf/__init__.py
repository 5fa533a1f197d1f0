"""Self-consistency: the loop, mixing, preconditioning, extrapolation."""
