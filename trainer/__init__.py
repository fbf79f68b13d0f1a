"""Trains a model on a shop's events and products and publishes it as a version."""
