"""The architecture "tensor-product": e3nn irreps and Clebsch-Gordan products, after HamGNN."""
