"""Around the program: documents, examples, benchmarks, rooms, packages, and the tests' own tools."""
