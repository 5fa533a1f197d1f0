"""Data sets of labelled structures: the file format."""
