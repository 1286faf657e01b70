"""Files that survive a crash, locks, names, room on the disk, and what may go."""
