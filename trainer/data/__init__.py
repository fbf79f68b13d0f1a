"""Input files to checked arrays: products, events, splits."""
