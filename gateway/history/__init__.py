"""The buyers' newest interactions, in Redis."""
