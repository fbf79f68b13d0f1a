"""Builds and tunes the search indexes of products and of texts."""
