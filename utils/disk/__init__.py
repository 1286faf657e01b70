"""Files that survive a crash, locks, free space, what grows old. Knows no sound and no dataset."""
