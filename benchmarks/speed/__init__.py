"""What `benchmarks/run.py` is made of: the inputs, the contenders, the measuring and the report."""
