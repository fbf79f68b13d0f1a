"""The live products of a version: those that have changed since its training, beside its index."""
