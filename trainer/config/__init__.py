"""Settings of the trainer: their types and checks, the defaults, and how files and --set change them."""
