"""What one call of the program does: its command line, runs, commands, and what a person sees."""
