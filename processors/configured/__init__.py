"""Sources that are a value: of the catalog, or of a `--sources` file. Knows no corpus by name."""
