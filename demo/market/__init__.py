"""The synthetic Arabic marketplace that the demo trains on."""
