"""Sequences of calculations: relaxation, defects, data sets, the demonstration."""
