"""Understands what a shopper typed: small steps, each a pure function from a Query to a Query."""
