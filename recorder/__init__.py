"""The recorder: drains the event log from its stream into Parquet files."""
