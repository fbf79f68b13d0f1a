"""The towers as torch modules."""
