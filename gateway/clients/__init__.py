"""The gateway's side of the gRPC services: batching, streams, deadlines."""
