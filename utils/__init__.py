"""Samples, bytes, files and targets, in rooms. Has never heard of a corpus."""
