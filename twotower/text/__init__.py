"""Arabic text: normalisation and n-grams."""
