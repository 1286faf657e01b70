"""What a clip, a row, an ID and a position are. Knows no file, no sound and no dataset."""
