"""The gateway's clients of the gRPC services: batching, kept streams, deadlines."""
