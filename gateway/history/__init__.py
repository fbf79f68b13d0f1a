"""Recent interactions per buyer, in Redis."""
