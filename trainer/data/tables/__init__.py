"""Tables on disk: CSV and Parquet files, each read once, in batches of text columns."""
