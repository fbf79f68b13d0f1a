"""Searches by vector, by history and by text."""
