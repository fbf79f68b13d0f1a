"""Searches hyperparameters on validation, in stages of trials: what takes seconds comes first."""
