"""Containers of others, none of which is believed: gzip, zip, Parquet, tables. Knows no source and no dataset."""
