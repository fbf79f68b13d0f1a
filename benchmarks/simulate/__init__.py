"""A shop that lives for thirty days: the demo market's buyers use the real processes through the REST API."""
