"""What served lists led to: rates with intervals, and which arm of an experiment works better."""
