"""What Xet's clients send: xorbs (chunks one behind the other) and shards (which chunks each file is made of).

A chunk: version, packed length in 3 bytes, scheme, length in 3 bytes, all little-endian; then its bytes. Only chunks
that are not packed are understood: clients of the tests run with `HF_XET_XORB_COMPRESSION_POLICY=none`.

A shard: records of 48 bytes. Behind the header, for each file: its hash with flags and a count, so many terms (a xorb,
and chunks of it), where the flags say so as many verifications and a record with the file's sha256; all ones end it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.hub.objects import Refused

_RECORD_BYTES = 48
_CHUNK_HEADER_BYTES = 8
_WITH_VERIFICATION = 1 << 31
_WITH_SHA256 = 1 << 30
_END = b"\xff" * 32


@dataclass(frozen=True)
class Term:
    """The chunks [first, end) of a xorb."""

    xorb: str
    first: int
    end: int


@dataclass(frozen=True)
class SentFile:
    """What a file is made of, and the sha256 that its sender says it has."""

    sha256: str
    terms: tuple[Term, ...]


def chunks(xorb: Path) -> Iterator[bytes]:
    """The bytes of each chunk of a xorb, in order."""
    with xorb.open("rb") as file:
        while header := file.read(_CHUNK_HEADER_BYTES):
            version, packed, scheme, length = header[0], _number(header[1:4]), header[4], _number(header[5:8])
            content = file.read(packed)
            if version or scheme or packed != length or len(content) != length:
                raise Refused(400, "A xorb that this Hub does not understand: is it compressed?")
            yield content


def sent_files(shard: bytes) -> Iterator[SentFile]:
    """The files that a shard tells of."""
    records = iter([shard[at : at + _RECORD_BYTES] for at in range(_RECORD_BYTES, len(shard), _RECORD_BYTES)])
    for head in records:
        if head.startswith(_END):
            return
        flags, count = struct.unpack_from("<II", head, 32)
        terms = tuple(_term(record) for record in islice(records, count))
        if flags & _WITH_VERIFICATION:
            list(islice(records, count))
        if not flags & _WITH_SHA256:
            raise Refused(400, "A file without its sha256")
        # Both are numbers of 64 bits to Xet: hex digits and bytes are in another order.
        yield SentFile(_hex(next(records)), terms)
    raise Refused(400, "A shard without an end")


def _term(record: bytes) -> Term:
    _, _, first, end = struct.unpack_from("<IIII", record, 32)
    return Term(_hex(record), first, end)


def _hex(record: bytes) -> str:
    return "".join(f"{number:016x}" for number in struct.unpack_from("<4Q", record))


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
