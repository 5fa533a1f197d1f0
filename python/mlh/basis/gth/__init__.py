"""The embedded basis set: GTH-PBE pseudopotentials and numerical orbitals made from them.

gth.py the pseudopotential table; finite_elements.py and atom.py the radial Kohn-Sham atom; orbitals.py
species from recipes; library.py the family and its cache.
"""
