"""The HTTP side of the process: sockets, workers, limits, access log."""
