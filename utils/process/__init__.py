"""This process: the clips in flight, Arrow's memory, garbage collection. Knows no file and no dataset."""
