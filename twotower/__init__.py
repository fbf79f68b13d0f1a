"""The code that training and serving share: text, events, artifacts, exported graphs, search, and RPC."""
