"""Text encoders: pretrained ones, the catalogue's own, and text vectors."""
