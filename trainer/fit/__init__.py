"""Fits softmax and linear models, gives their weights the form that services use, and selects one on validation."""
