"""The stages of the trainer: one module for each command."""
