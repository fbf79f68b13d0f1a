"""Text of items and searches: normalisation and n-grams."""
