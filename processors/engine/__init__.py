"""What `BaseProcessor` runs on: reading ahead, conversion, positions. Knows no corpus."""
