"""Two datasets, file by file: which differ, and in what.

Each byte must be equal but for those that no two runs share: of a state the name of its generation, the run, its
number, its time, and the checksum over them. A difference is told as closely as the file's form allows: the key of a
JSON file, the column and row of a Parquet file, the line of a text.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Published = dict[str, Path]
"""Path in a dataset -> a file with its bytes."""

STATE_PATH = ".ingest/state.json"
_STATES = (STATE_PATH, ".ingest/state.previous.json")
_TELL_OF_ROWS = ("README.md", ".ingest/")
_OF_A_RUN = ("generation", "run_id", "sequence", "committed_at", "checksum")
_ARROW_SCHEMA = b"ARROW:schema"
"""Arrow's own copy of the schema, which has all other metadata in it, too."""
MAX_KEYS = 4
"""Of a JSON file, that are told."""
_MAX_SHOWN = 60
"""Characters of a value."""


def keep(files: Published, folder: Path) -> Published:
    """The same files, in a folder of their own, for what they come from will go."""
    kept = {}
    for path, file in files.items():
        kept[path] = folder / path
        kept[path].parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, kept[path])
    return kept


def differences(expected: Published, found: Published) -> dict[str, str]:
    """Path -> what differs, for all paths that do: rows first, as other files tell of them."""
    told = {}
    for path in sorted({*expected, *found}, key=lambda path: (path.startswith(_TELL_OF_ROWS), path)):
        if path not in found:
            told[path] = "is missing"
        elif path not in expected:
            told[path] = "should not be there"
        elif _digest(path, expected[path]) != _digest(path, found[path]):
            told[path] = next(_what_differs(path, expected[path], found[path]))
    return told


def _digest(path: str, file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha256(_without_the_run(content) if path in _STATES else content).hexdigest()


def _without_the_run(state: bytes) -> bytes:
    """The state's own text, so that its form counts, too."""
    keys = "|".join(_OF_A_RUN).encode()
    return re.sub(rb'^  "(%s)": .*?(,?)$' % keys, rb'  "\1": ...\2', state, flags=re.MULTILINE)


def _what_differs(path: str, expected: Path, found: Path) -> Iterator[str]:
    sizes = tuple(file.stat().st_size for file in (expected, found))
    if path.endswith(".json"):
        ours, theirs = (json.loads(file.read_bytes()) for file in (expected, found))
        for content in (ours, theirs) if path in _STATES else ():
            for key in _OF_A_RUN:
                content.pop(key, None)
        if keys := list(islice(_in_json(ours, theirs, ""), MAX_KEYS)):
            yield "; ".join(keys)
        yield "the same content in another form: the order of its keys, or spaces"
    if path.endswith(".parquet"):
        yield from _in_tables(*(pq.read_table(file, partitioning=None) for file in (expected, found)))
        yield from _in_parquet(expected, found)
    if path.endswith((".md", ".jsonl")):
        yield first_line_that_differs(*(file.read_bytes().decode(errors="replace") for file in (expected, found)))
    yield f"bytes: {sizes[0]:,} and {sizes[1]:,}" if sizes[0] != sizes[1] else f"some of its {sizes[0]:,} bytes"


def first_line_that_differs(expected: str, found: str) -> str:
    """Of two texts that are not the same."""
    for number, (ours, theirs) in enumerate(zip_longest(expected.split("\n"), found.split("\n")), 1):
        if ours != theirs:
            return f"line {number}: {_both(ours, theirs)}"
    raise ValueError("both are the same")


def _in_json(expected: Any, found: Any, key: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in {**expected, **found}:
            below = f"{key}.{name}" if key else name
            if name not in found or name not in expected:
                yield f"key {below}: only {'BASE' if name in expected else 'CHANGED'} has it"
            else:
                yield from _in_json(expected[name], found[name], below)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
            yield from _in_json(ours, theirs, f"{key}[{number}]")
    elif expected != found or type(expected) is not type(found):
        yield f"key {key}: {_both(expected, found)}"


def _in_tables(expected: pa.Table, found: pa.Table) -> Iterator[str]:
    if expected.column_names != found.column_names:
        yield f"columns: {_both(expected.column_names, found.column_names)}"
        return
    if expected.num_rows != found.num_rows:
        yield f"rows: {_both(expected.num_rows, found.num_rows)}"
        return
    for name in expected.column_names:
        pairs = zip(expected[name].to_pylist(), found[name].to_pylist(), strict=True)
        for row, (ours, theirs) in enumerate(pairs):
            if ours != theirs:
                yield f"column {name}, row {row}: {_both(ours, theirs)}"
                break


def _in_parquet(expected: Path, found: Path) -> Iterator[str]:
    """Of the same rows."""
    ours, theirs = (pq.read_metadata(file) for file in (expected, found))
    keys = {*(ours.metadata or {}), *(theirs.metadata or {})}
    for key in sorted(keys, key=lambda key: (key == _ARROW_SCHEMA, key)):
        if (one := (ours.metadata or {}).get(key)) != (other := (theirs.metadata or {}).get(key)):
            yield f"metadata {key.decode()}: {_both(one, other)}"
    if ours.num_row_groups != theirs.num_row_groups:
        yield f"row groups: {_both(ours.num_row_groups, theirs.num_row_groups)}"
    if ours.schema != theirs.schema:
        yield "the same rows with another schema"


def _both(expected: Any, found: Any) -> str:
    """Two values from where they begin to differ."""
    texts = [str(value) for value in (expected, found)]
    start = max(0, len(os.path.commonprefix(texts)) - _MAX_SHOWN // 3)
    one, other = ((".." if start else "") + text[start : start + _MAX_SHOWN] for text in texts)
    return f"{one!r} is now {other!r}"
