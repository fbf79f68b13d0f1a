"""The live catalogue: changes of products in Redis, and how a service follows them."""
