"""Search over vectors: exact, approximate, and re-ranked for diversity."""
