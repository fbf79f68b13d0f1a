"""Who may ask what: keys and their scopes, tokens for one buyer, rate limits."""
