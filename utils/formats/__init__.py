"""Containers of others, none of which is believed: gzip, zip, Parquet, tables. Knows no corpus and no dataset."""
