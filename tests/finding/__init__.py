"""Tests of `utils/finding/` and of `--find`."""
