"""What one call of the program does: the command line, runs that refuse or stop, and all that a person sees."""
