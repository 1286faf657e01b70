"""A published dataset held against its promises, and mended. Knows no source and no run."""
