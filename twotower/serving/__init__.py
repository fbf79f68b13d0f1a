"""What the gRPC services share: server, client, worker pool, statuses, versions, settings, telemetry, wire format."""
