"""What the bytes of a clip say about themselves, before any decoder sees them.

libsndfile decodes whatever is there: a file that was cut short ends early without an error, and one
whose header was never filled in is empty. So `checked_container` compares what a container promises with
what is there. Files of unknown kinds pass: what they hold is for libsndfile to say, and what they are
where it can't read them is for `describe_foreign`.
"""

import re
import struct
from dataclasses import dataclass
from typing import Final

from utils.audio.mpeg import id3v2_length
from utils.audio.ogg import check_ogg
from utils.audio.rejected import AudioRejected
from utils.rows.schema import RejectReason


@dataclass(frozen=True, slots=True)
class _ChunkLayout:
    """How a container made of chunks is laid out, and which chunk holds the samples."""

    header: struct.Struct
    """A chunk's name and its size."""
    first_chunk: int
    samples_chunk: bytes
    alignment: int
    size_counts_header: bool = False


_WAV: Final = _ChunkLayout(struct.Struct("<4sI"), 12, b"data", 2)
_WAV_BIG_ENDIAN: Final = _ChunkLayout(struct.Struct(">4sI"), 12, b"data", 2)
_AIFF: Final = _ChunkLayout(struct.Struct(">4sI"), 12, b"SSND", 2)
_CAF: Final = _ChunkLayout(struct.Struct(">4sq"), 8, b"data", 1)
_W64: Final = _ChunkLayout(struct.Struct("<4s12xq"), 40, b"data", 8, size_counts_header=True)
_LAYOUTS: Final = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"RIFX": _WAV_BIG_ENDIAN,
    b"FORM": _AIFF,
    b"caff": _CAF,
    b"riff": _W64,
}

_KNOWN_STARTS: Final = (
    *((0, start) for start in (b"RIFF", b"RIFX", b"RF64", b"riff", b".snd", b"dns.", b"caff", b"fLaC", b"OggS")),
    *((0, b"NIST_1A\n"), (8, b"AIFF"), (8, b"AIFC")),
)
"""What files of the formats begin with that we accept, but for MPEG's."""
MAX_CHUNKS: Final = 1000
"""Of a file in front of its samples: eight bytes are a chunk, so a file may hold millions."""

_STREAMED: Final = range(0x7FFF_0000, 0x1_0000_0000)
"""Sizes that programs write which don't know the size yet: 0xFFFFFFFF (ffmpeg), 0x7FFFF000 (sox) and the like.
No clip is 2 GB long: at an hour that is more than six channels of 48 kHz."""
_CHUNKS_AFTER_SAMPLES: Final = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact", b"smpl", b"JUNK", b"PAD ")
_DS64_DATA_SIZE_AT: Final = 28
_DS64_UNKNOWN: Final = (0, 0xFFFF_FFFF_FFFF_FFFF)


def is_known_format(data: bytes) -> bool:
    """Whether a file begins like one of a format that we accept. The others libsndfile's parsers never see."""
    start = id3v2_length(data)
    looks_like_mpeg = data[start : start + 1] == b"\xff" and data[start + 1 : start + 2] >= b"\xe0"
    return looks_like_mpeg or any(data.startswith(known, start + at) for at, known in _KNOWN_STARTS)


def checked_container(data: bytes) -> bytes:
    """The clip in a form that libsndfile reads to its end and no further: the very same bytes, except where a WAV
    header was never filled in, or more follows the samples of a W64. Raises `AudioRejected` (truncated, empty,
    undecodable) where the container promises more than there is.
    """
    body = data[skipped:] if (skipped := id3v2_length(data)) else data
    if layout := _LAYOUTS.get(body[:4]):
        repaired = _checked_chunks(body, layout)
        return data if repaired is body else repaired
    if body[:4] in (b".snd", b"dns."):
        _check_au(body)
    elif body[:4] == b"OggS":
        check_ogg(body)
    elif body[:8] == b"NIST_1A\n":
        _check_nist(body)
    return data


def _checked_chunks(data: bytes, layout: _ChunkLayout) -> bytes:
    found = _find_samples(data, layout)
    if found is None:
        _check_outer_size(data, layout)
        return data
    begin, promised = found
    if data[:4] == b"RF64" and data[12:16] == b"ds64" and len(data) >= _DS64_DATA_SIZE_AT + 8:
        (ds64_size,) = struct.unpack_from("<Q", data, _DS64_DATA_SIZE_AT)
        promised = None if ds64_size in _DS64_UNKNOWN else ds64_size
    elif promised == 0 and layout is _WAV and _has_samples_behind(data, begin):
        return data[: begin - 4] + (len(data) - begin).to_bytes(4, "little") + data[begin:]
    _check_present(len(data) - begin, promised)
    if layout is _W64 and promised is not None:  # libsndfile takes whatever follows for samples
        return data[: begin + promised] if begin + promised < len(data) else data
    return data


def _find_samples(data: bytes, layout: _ChunkLayout) -> tuple[int, int | None] | None:
    """(where the samples begin, how many bytes of them are promised), None where their chunk is not reached."""
    at, header = layout.first_chunk, layout.header
    for _ in range(MAX_CHUNKS):
        if at + header.size > len(data):
            return None
        name, size = header.unpack_from(data, at)
        begin = at + header.size
        if layout.size_counts_header:
            size -= header.size
        if name == layout.samples_chunk:
            return begin, None if size < 0 or size in _STREAMED else size
        if size < 0:
            return None
        at = begin + size + -size % layout.alignment
    raise AudioRejected(RejectReason.UNDECODABLE, f"more than {MAX_CHUNKS} chunks in front of its samples")


def _check_outer_size(data: bytes, layout: _ChunkLayout) -> None:
    """A file that ends before its samples begin says so where its outermost size is longer than itself."""
    if layout in (_WAV, _WAV_BIG_ENDIAN, _AIFF) and len(data) >= 8:
        outer = int.from_bytes(data[4:8], "big" if layout.header.format.startswith(">") else "little") + 8
        if outer > len(data):
            raise AudioRejected(
                RejectReason.TRUNCATED, f"the file ends inside its header: {len(data)} of {outer} bytes are there"
            )


def _has_samples_behind(data: bytes, begin: int) -> bool:
    return len(data) > begin and data[begin : begin + 4] not in _CHUNKS_AFTER_SAMPLES


def _check_present(present: int, promised: int | None) -> None:
    if present <= 0:
        raise AudioRejected(
            RejectReason.EMPTY, f"a header without samples: 0 of {promised or 'unknown'} bytes are there"
        )
    if promised is not None and present < promised:
        raise AudioRejected(RejectReason.TRUNCATED, f"{present} of {promised} bytes of samples are there")


def _check_au(data: bytes) -> None:
    begin, size = struct.unpack_from("<II" if data[:4] == b"dns." else ">II", data.ljust(12, b"\0"), 4)
    _check_present(len(data) - begin, None if size in _STREAMED else size)


def _check_nist(data: bytes) -> None:
    """A SPHERE header is text: its own length, then lines such as `sample_count -i 32000`."""
    fields = dict(re.findall(rb"(\w+) -i (\d+)", data[:1024]))
    if data[8:16].strip().isdigit() and b"sample_count" in fields:
        bytes_a_frame = int(fields.get(b"channel_count", 1)) * int(fields.get(b"sample_n_bytes", 2))
        _check_present(len(data) - int(data[8:16]), int(fields[b"sample_count"]) * bytes_a_frame)


_FOREIGN_MAGIC: Final = (
    (0, b"version https://git-lfs", "a git-lfs pointer: the file itself was not downloaded"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PAR1", "a Parquet file"),
)


def describe_foreign(data: bytes) -> str | None:
    """What a file is that is no audio; None where unknown."""
    start = id3v2_length(data)
    body = data[start : start + 512]
    for at, magic, description in _FOREIGN_MAGIC:
        if body.startswith(magic, at):
            return description
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<!doctype html") or b"<html" in text:
        return "an HTML page: the download answered with a page instead of the clip"
    if text.startswith((b"<?xml", b"<error")):
        return "an XML document: the download answered with a message instead of the clip"
    if text.startswith(b'{"'):
        return "a JSON document: the download answered with a message instead of the clip"
    return None
