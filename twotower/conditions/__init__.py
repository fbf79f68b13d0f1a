"""Conditions over catalogue fields and over facts of a request: their language, their text, what they are true of."""
