"""The artifact folder: its layout, manifests, pointers, and how a version is written and removed."""
