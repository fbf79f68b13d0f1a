"""Work in parts: on this machine, or on the machines of a Ray cluster. Both give the same results."""
