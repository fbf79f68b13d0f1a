"""The explorer: server-rendered pages in Arabic and English that show what the gateway answers."""
