"""The HTTP edge: processes, sockets, limits, access log."""
