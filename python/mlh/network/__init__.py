"""The equivariant network: structure -> blocks of dH. PyTorch only, no files."""
