"""Samples in, committed shards out. Knows no source and no command."""
