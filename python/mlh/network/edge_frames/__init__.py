"""The architecture "edge-frames": maps that are equivariant about the axis of each edge."""
