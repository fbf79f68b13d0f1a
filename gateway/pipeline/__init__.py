"""From a checked request to its answer: history, vector, products."""
