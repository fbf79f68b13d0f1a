"""Complements: which products are bought together, from baskets and sessions."""
