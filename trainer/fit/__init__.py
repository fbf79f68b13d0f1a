"""Fitting: sampler, loss, softmax, linear model, blend, selection on validation."""
