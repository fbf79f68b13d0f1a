"""Text encoders, pretrained or trained on the catalogue, and the vectors of product texts."""
