"""What training and serving must agree on: text, events, artifacts, exported graphs, and the wire."""
