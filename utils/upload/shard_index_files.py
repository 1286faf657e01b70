"""What another machine needs to know of published clips, so that none is published twice: a small file for each shard.

`.ingest/dedup/<split>/<source>-<00000>.arrow` goes in with the commit of its shard: for each row its source id and the
hash of its audio, and where near duplicates are looked for, its length, the key of its transcript and its fingerprint.

    xxh3-128 of all that follows
    Arrow's stream format, zstd: the columns above; in the schema: mode, rows and size of the shard

It is a copy of what the shard says, so nothing is lost with it: where it is damaged, missing, or of a shard that was
rewritten since (its rows or its size are others), the shard itself is read.
"""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import xxhash

from utils.known.clips import Entry
from utils.known.judge import entry_of
from utils.upload.segments import FINGERPRINT_COLUMN, Segment

_DIGEST_BYTES = 16
_VERSION = "1"
_SCHEMA = pa.schema(
    [
        ("source_id", pa.string()),
        ("audio_hash", pa.binary(16)),
        ("length_ms", pa.int32()),
        ("transcript", pa.int64()),
        ("fingerprint", pa.binary()),
    ]
)
_COLUMNS_READ = ["_ordinal", "source_id", "audio_hash", "length", "transcript"]


def to_bytes(entries: Sequence[Entry], mode: str, shard_bytes: int) -> bytes:
    """The index file of a shard with these rows and this size. The same entries give the same bytes."""
    columns = {name: [getattr(entry, name) for entry in entries] for name in _SCHEMA.names}
    about = {"version": _VERSION, "mode": mode, "rows": str(len(entries)), "shard_bytes": str(shard_bytes)}
    schema = _SCHEMA.with_metadata(about)
    table = pa.Table.from_pydict(columns, schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return xxhash.xxh3_128_digest(content) + content


def from_bytes(raw: bytes | None, mode: str, rows: int, shard_bytes: int) -> list[Entry] | None:
    """Read `to_bytes`'s form; None where it is not whole, or not of that shard in that mode."""
    if raw is None or xxhash.xxh3_128_digest(raw[_DIGEST_BYTES:]) != raw[:_DIGEST_BYTES]:
        return None
    with pa.ipc.open_stream(pa.py_buffer(raw[_DIGEST_BYTES:])) as reader:
        about: Mapping[bytes, bytes] = reader.schema.metadata or {}
        wanted = {"version": _VERSION, "mode": mode, "rows": str(rows), "shard_bytes": str(shard_bytes)}
        if about != {name.encode(): value.encode() for name, value in wanted.items()}:
            return None
        table = reader.read_all()
    return [Entry(**row) for row in table.to_pylist()]


def staged_entries(segment: Segment, first_ordinal: int, last_ordinal: int) -> Iterator[tuple[int, Entry]]:
    """Ordinal and entry of the rows of a segment that lie behind `first_ordinal`, up to `last_ordinal`."""
    if segment.progress.read <= first_ordinal or segment.first_ordinal >= last_ordinal:
        return
    table = segment.columns([*_COLUMNS_READ, FINGERPRINT_COLUMN])
    for row in table.to_pylist():
        if first_ordinal < row["_ordinal"] <= last_ordinal:
            yield row["_ordinal"], entry_of(row, row.get(FINGERPRINT_COLUMN) or b"")
