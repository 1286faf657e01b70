"""Hostile inputs, each made from a seed, and what must become of them.

`mutate` damages sound files; `audio`, `archives`, `records` and `datasets` say what is read with what; `bombs` are
built on purpose; `ending` says what an input may come to. `python benchmarks/fuzz.py` runs campaigns of them.
"""
