"""Messages of protos/retrieval.proto: requests read, answers packed."""
