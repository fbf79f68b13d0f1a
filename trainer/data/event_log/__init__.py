"""The recorder's log as a source of events, and what its lists led to."""
