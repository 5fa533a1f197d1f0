"""Atoms that move on the energy surface: molecular dynamics, paths over saddle points, vibrations."""
