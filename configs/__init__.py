"""Site files that ship with the package."""
