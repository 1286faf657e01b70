"""What `BaseProcessor` runs on: reading ahead, conversion, positions, names of clips. Knows no corpus."""
