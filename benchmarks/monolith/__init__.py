"""One process that does the work of the whole chain, in a plain and in a tuned version, to compare the chain with."""
