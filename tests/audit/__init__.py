"""A dataset held against its promises, mended, and rid of what must go."""
