"""Reading sources into a target. Knows no command line."""
