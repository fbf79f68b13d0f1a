"""Versions: assembled, verified as the services load them, locked, pruned."""
