"""The whole system on one machine without containers: data, training, Redis, three services, the gateway."""
