"""Experiments: which arm answers a buyer, and what switches an arm off."""
