"""Every setting of the trainer: schema, defaults, loading."""
