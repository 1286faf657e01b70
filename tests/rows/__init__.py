"""What a row and an ID are, and rows of another kind than speech all the way."""
