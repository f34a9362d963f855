"""The edges: all that touches the world."""
