"""Corpora: what every source promises, those that have a file of their own, and those that are a value."""
