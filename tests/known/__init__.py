"""What must not come again: source ids, recordings, and the same recording in another form."""
