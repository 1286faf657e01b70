"""One container format each: tar, Parquet, tables; and archives that are had with a key."""
