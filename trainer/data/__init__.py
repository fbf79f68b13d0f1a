"""Reads and checks the input files; holds products, events and their splits as arrays."""
