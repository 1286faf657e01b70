"""Samples in, committed shards out: staging, cutting, and a script's own uploader."""
