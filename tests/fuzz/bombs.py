"""Inputs that are built to be much more than they look: each must end within bounded memory and time.

What is too large to be held is made while it is read (`Repeated`): a piece, many times over.
"""

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import soundfile

from processors.readers.parquet import count_rows, read_parquet
from processors.readers.release_folder import table_rows
from processors.readers.spec import Columns
from processors.readers.tar import read_tars
from tests.fuzz.archives import MemoryFiles, parquet_of, tar_of
from tests.fuzz.audio import sound
from tests.fuzz.ending import FINE, REFUSED, Broken, Target, check, ending_of_clips
from tests.fuzz.records import grown_state
from utils.audio.ogg import page_checksum
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.dataset.state import State
from utils.formats.tsv import TextLines
from utils.rows.schema import AUDIO_TYPE, START, RawClip
from utils.rows.sealed_json import json_with_checksum
from utils.sources.table_index import open_table_index
from utils.text.normalize import normalize_transcript

GB = 1000**3
_COLUMNS = Columns()
_CLIP_BYTES = 120_000_000
"""A little less than is loaded of one clip."""


def targets() -> list[Target]:
    return [*_archives(), *_tables(), *_parquets(), *_clips(), *_others()]


def _bomb(name: str, make: Callable[[], Any], read: Callable[[Any], str], most_cpu_s: int = 10) -> Target:
    """`make` builds it, which is not counted; `read` is."""
    return Target(
        f"bomb: {name}", lambda random: make(), lambda made, folder: read(made), most_cpu_s=most_cpu_s, always=1
    )


class Repeated(io.RawIOBase):
    """A file of `head`, a `piece` (or what its number makes) so many times, and `tail`; read from front to back."""

    def __init__(self, head: bytes, piece: bytes | Callable[[int], bytes], times: int, tail: bytes = b"") -> None:
        self._pieces = self._all(head, piece, times, tail)
        self._rest = memoryview(b"")
        self._at = 0

    @staticmethod
    def _all(head: bytes, piece: bytes | Callable[[int], bytes], times: int, tail: bytes) -> Iterator[bytes]:
        yield head
        for number in range(times):
            yield piece if isinstance(piece, bytes) else piece(number)
        yield tail

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._at += count
        return count


# --- archives ------------------------------------------------------------------------------------


def _archives() -> list[Target]:
    bombs = {
        "a clip": _header("0-0-0.wav", size=100 * GB),
        "another file": _header("README.txt", size=100 * GB),
        "behind the end mark": bytes(1024),
        "a header's extension": _header("x", "x", 90 * GB),
    }
    return [
        *(_bomb(f"a gzip member of 100 GB: {it}", partial(_zeros, head), _read_stream) for it, head in bombs.items()),
        _bomb("a gzip header with a name of 1 GB", _long_gzip_name, _read_stream),
        _bomb("10,000,000 members", lambda: None, _read_many_members, 900),
        _bomb("a chain of 5,000 extended headers", lambda: _extended(5000, "x"), _read_tar),
        _bomb("global headers of 100 MB", lambda: _extended(200, "g", 500_000), _read_tar, 20),
        _bomb("a sparse file of 500,000 pieces", _sparse, _read_tar),
        _bomb("a header of negative size", lambda: _header("x", "x", -512) + bytes(2_000_000), _read_tar),
        _bomb("2,000 names of 64 KB", _long_names, _read_tar, 20),
    ]  # fmt: skip


def _header(name: str, kind: str = "0", size: int = 0) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind.encode()
    return member.tobuf(tarfile.GNU_FORMAT)


def _zeros(head: bytes) -> "Repeated":
    """One gzip member: `head`, then 100 GB of zeros, as deflate blocks of 1 GB that are all the same."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = b"".join(packer.compress(bytes(10**7)) for _ in range(100)) + packer.flush(zlib.Z_FULL_FLUSH)
    return Repeated(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + begin, block, 100, packer.flush())


def _long_gzip_name() -> "Repeated":
    return Repeated(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff", b"x" * 10**6, 1000)


def _read_stream(made: "Repeated") -> str:
    return _read_archive(lambda: cast(BinaryIO, io.BufferedReader(made)))


def _read_many_members(made: None) -> str:
    """Ten million empty clips in a tar that is not compressed; each is read, found and rejected."""
    empty = bytearray(_header("000000000.wav"))

    def block(number: int) -> bytes:
        parts = []
        for member in range(number * 100, number * 100 + 100):
            empty[:9] = b"%09d" % member
            empty[148:156] = b" " * 8
            empty[148:156] = b"%06o\0 " % sum(empty)
            parts.append(bytes(empty))
        raw = b"".join(parts)
        return b"\0" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw  # a stored block

    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    files = MemoryFiles({"a.tar.gz": lambda: cast(BinaryIO, io.BufferedReader(Repeated(head, block, 100_000)))})
    count = 0
    try:
        for clip in read_tars(files, ["a.tar.gz"], dict(START), lambda key: "คำ", lambda: None):
            check(clip.audio == b"", "audio out of nothing")
            count += 1
    finally:
        check(count == 10_000_000, f"{count:,} members were read")
    return FINE


def _extended(count: int, kind: str, size: int = 20) -> bytes:
    """Extended headers, each with a field of its own; global ones with a clip behind each."""
    parts = []
    for number in range(count):
        body = _field(f"k{number}", "x" * size)
        parts.append(_header("x", kind, len(body)) + body + bytes(-len(body) % 512))
        if kind == "g":
            parts.append(_header(f"{number}.wav"))
    return b"".join(parts) + _header("end.wav") + bytes(1024)


def _field(name: str, value: str) -> bytes:
    """A field as an extended header has it; it begins with its own length."""
    rest = f" {name}={value}\n"
    length = len(rest) + len(str(len(rest)))
    return f"{length + (len(str(length)) > len(str(len(rest))))}{rest}".encode()


def _sparse() -> bytes:
    """GNU's sparse format 1.0: the map of the pieces stands in front of the content."""
    pieces = "500000\n" + "".join(f"{number * 100}\n1\n" for number in range(500_000))
    body = pieces.encode() + bytes(-len(pieces) % 512)
    fields = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": "50000000",
        "GNU.sparse.name": "a.wav",
    }
    return tar_of([("a.wav", body)], tarfile.PAX_FORMAT, pax_headers=fields)


def _long_names() -> bytes:
    return tar_of([(f"{number}{'ก' * 21_000}.wav", b"") for number in range(2000)], tarfile.PAX_FORMAT)


def _read_tar(tar: bytes) -> str:
    packed = gzip.compress(tar, 1)
    return _read_archive(lambda: io.BytesIO(packed))


def _read_archive(opened: Callable[[], BinaryIO]) -> str:
    clips = read_tars(MemoryFiles({"a.tar.gz": opened}), ["a.tar.gz"], dict(START), lambda key: "คำ", lambda: None)
    return ending_of_clips(clips)


# --- tables --------------------------------------------------------------------------------------


def _tables() -> list[Target]:
    header = b"path\tsentence\n"
    long_line = partial(Repeated, header + b"a.mp3\t", b"x" * 10**6, 1000, b"\nb.mp3\ty\n")
    return [
        _bomb("a TSV line of 1 GB", long_line, partial(_read_table, rows=1)),
        _bomb("200,000,000 empty lines", partial(Repeated, header, b"\n" * 10**6, 200), _read_table, 100),
        _bomb("a TSV of 150,000 columns", _wide_table, partial(_read_table, rows=100), 60),
        Target("bomb: 10,000,000 table rows", lambda random: None, _index_many_rows, most_cpu_s=600, always=1),
    ]


def _wide_table() -> "Repeated":
    head = b"path\tsentence" + b"".join(b"\t%x" % number for number in range(150_000)) + b"\n"
    return Repeated(head, b"a" + b"\t" * 900_000 + b"\n", 100)


def _read_table(made: "Repeated", rows: int = 0) -> str:
    found = sum(1 for _ in table_rows(cast(BinaryIO, io.BufferedReader(made)), "table.tsv", ("path", "sentence")))
    check(found == rows, f"{found} rows")
    return FINE


def _index_many_rows(made: None, folder: Path) -> str:
    def lines(number: int) -> bytes:
        return b"".join(b"%d\tx\n" % row for row in range(number * 100, number * 100 + 100))

    def entries() -> Iterator[tuple[str, str, str]]:
        rows = cast(BinaryIO, io.BufferedReader(Repeated(b"", lines, 100_000)))
        for line, _ in TextLines(rows, "table.tsv"):
            key, _, text = line.partition("\t")
            yield "table", key, text

    with open_table_index(folder, "table", "bomb", ["table"], entries) as index:
        check(index.count("table") == 10_000_000, "rows are missing")
        check(index.get("table", "9999999") is not None, "the last row is missing")
    return FINE


# --- Parquet -------------------------------------------------------------------------------------


def _parquets() -> list[Target]:
    return [
        _bomb("a Parquet page that unpacks to 500 MB", partial(_audio_parquet, 500_000_000), _read_parquet),
        _bomb("a Parquet clip of 23 MB in 20 rows", _repeated_clip, _read_parquet, 30),
        _bomb("a Parquet transcript of 27 MB", _long_text, _read_parquet),
        _bomb("a Parquet file of 50,000,000 nulls", _nulls, _read_parquet),
        _bomb("a Parquet footer of 900,000 columns", partial(_wide_footer, 900_000), _read_parquet),
        _bomb("a Parquet footer of 340,000 columns", partial(_wide_footer, 340_000), _read_parquet),
        Target(
            "bomb: a published Parquet file with one name of 23 MB in 20,000 rows",
            lambda random: _repeated_name(), _verify_parquet, most_cpu_s=60, always=1,
        ),
    ]  # fmt: skip


def _audio_parquet(size: int) -> bytes:
    table = _table([{"bytes": bytes(size), "path": "a.wav"}], ["x"])
    return parquet_of(table, compression="zstd", use_dictionary=False)


def _repeated_clip() -> bytes:
    """Millions of bytes, which are packed to a few thousand, once in the dictionary."""
    cell = {"bytes": b"RIFF" + bytes(23_000_000), "path": "a.wav"}
    table = pa.table({"audio": pa.array([cell], AUDIO_TYPE).take(pa.array([0] * 20)), "sentence": ["x"] * 20})
    return parquet_of(table, compression="zstd", use_dictionary=True, dictionary_pagesize_limit=2**31 - 1)


def _long_text() -> bytes:
    return parquet_of(_table([{"bytes": b"RIFF", "path": "a.wav"}], ["ก" * 9_000_000]), compression="zstd")


def _nulls() -> bytes:
    table = pa.table({"audio": pa.nulls(50_000_000, AUDIO_TYPE), "sentence": pa.nulls(50_000_000, pa.string())})
    return parquet_of(table, compression="zstd")


def _wide_footer(columns: int) -> bytes:
    """A row group that lists so many column chunks, each of three bytes that say nothing."""

    def size(count: int) -> bytes:
        return bytes((count & 0x7F | 0x80, count >> 7 & 0x7F | 0x80, count >> 14))

    schema = b"\x19\x2c" + b"\x48\x01r\x15\x02\0" + b"\x15\x02\x25\0\x18\x01a\0"
    group = b"\x19\xfc" + size(columns) + b"\x26\0\0" * columns + b"\x16\0\x16\0\0"
    footer = b"\x15\x02" + schema + b"\x16\0" + b"\x19\x1c" + group + b"\0"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _repeated_name() -> bytes:
    names = pa.array(["S" + "1" * 23_000_000]).take(pa.array([0] * 20))
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), names.slice(0, 1))
    table = pa.table({"ID": column, "number": range(20_000)})
    return parquet_of(table, compression="zstd", dictionary_pagesize_limit=2**31 - 1, store_schema=False)


def _table(audio: list[dict[str, object]], sentences: list[str]) -> pa.Table:
    return pa.table({"audio": pa.array(audio, AUDIO_TYPE), "sentence": sentences})


def _read_parquet(made: bytes) -> str:
    files = MemoryFiles({"a.parquet": made})
    count_rows(files, ["a.parquet"])
    return ending_of_clips(read_parquet(files, ["a.parquet"], _COLUMNS, dict(START)))


def _verify_parquet(made: bytes, folder: Path) -> str:
    (folder / "out" / "data" / "train").mkdir(parents=True)
    (folder / "out" / "data" / "train" / "x-00000.parquet").write_bytes(made)
    (folder / "scratch").mkdir()
    return FINE if verify(LocalTarget(folder / "out"), folder / "scratch").is_sound else REFUSED


# --- clips ---------------------------------------------------------------------------------------


def _clips() -> list[Target]:
    many = _CLIP_BYTES
    return [
        _bomb("a WAV header that claims 10 hours", lambda: _claiming(sound(("WAV", "PCM_16", 1))), _convert),
        _bomb("a FLAC header that claims 10 hours", _long_flac_header, _convert),
        _bomb("10 hours of silence in FLAC", partial(_flac_silence, 1, 8000, 36_000), _convert),
        _bomb("an hour of silence in FLAC, 8 channels of 192 kHz", partial(_flac_silence, 8, 192_000, 3600), _convert),
        _bomb("an hour of WAV, 16 kHz", partial(_long_wav, 3600), _convert),
        _bomb("an hour of WAV, its header not filled in", lambda: _unfilled(_long_wav(1900)), _convert),
        _bomb("twelve minutes of Opus", partial(_long, "OGG", "OPUS", 718), _convert),
        _bomb("half an hour of Opus", partial(_long, "OGG", "OPUS", 1790), _convert),
        _bomb("an hour of MP3", partial(_long, "MP3", "MPEG_LAYER_III", 3590), _convert, 20),
        _bomb("120 MB of ID3 tags", lambda: b"ID3\3\0\0\0\0\0\0" * (many // 10), _convert),
        _bomb("120 MB of bytes that begin MP3 frames", lambda: _mp3() + b"\xff" * many, _convert),
        _bomb("120 MB of MP3 headers", lambda: _mp3() + _mp3()[:4] * (many // 4), _convert),
        _bomb("600,000 empty Ogg pages", _ogg_pages, _convert),
        _bomb("120 MB of empty WAV chunks", partial(_chunks, b"RIFF\xff\xff\xff\x7fWAVE", b"LIST"), _convert),
        _bomb("120 MB of empty AIFF chunks", partial(_chunks, b"FORM\x7f\xff\xff\xffAIFF", b"ANNO"), _convert),
        _bomb("a WAV of 1,000 channels", _many_channels, _convert),
        _bomb("a transcript of 300,000 tone marks", lambda: ("\u0e48" * 300_000).encode(), _normalize),
        _bomb("a transcript of 1 MB of combining marks", lambda: ("\u0301\u0316" * 250_000).encode(), _normalize),
        _bomb("a transcript of 1 MB", lambda: ("ก\u0e48\u0e4d\u0e32" * 83_000).encode(), _normalize),
    ]  # fmt: skip


def _convert(content: bytes) -> str:
    return ending_of_clips([RawClip("clip", {"index": 1}, content, "clip.wav", "สวัสดี")])


def _normalize(content: bytes) -> str:
    text = normalize_transcript(content.decode())
    if normalize_transcript(text) != text:
        raise Broken("it does not settle")
    return FINE


def _claiming(wav: bytes) -> bytes:
    """Ten hours by its sizes."""
    size = 10 * 3600 * 32_000
    return wav[:4] + struct.pack("<I", size + 36) + wav[8:40] + struct.pack("<I", size) + wav[44:]


def _long_flac_header() -> bytes:
    flac = bytearray(sound(("FLAC", "PCM_16", 1)))
    flac[22:26] = struct.pack(">I", 10 * 3600 * 16_000)
    return bytes(flac)


def _flac_silence(channels: int, rate_hz: int, duration_s: int) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate_hz, channels, format="FLAC", subtype="PCM_16") as flac:
        second = np.zeros((rate_hz, channels), np.int16)
        flac.write(np.full((100, channels), 1000, np.int16))
        for _ in range(duration_s - 1):
            flac.write(second)
    return file.getvalue()


def _long(container: str, subtype: str, duration_s: int) -> bytes:
    file = io.BytesIO()
    block = np.random.default_rng(1).normal(0, 0.1, 480_000).astype(np.float32)
    with soundfile.SoundFile(file, "w", 48_000, 1, format=container, subtype=subtype) as clip:
        for _ in range(duration_s // 10):
            clip.write(block)
    return file.getvalue()


def _long_wav(duration_s: int) -> bytes:
    file = io.BytesIO()
    block = np.random.default_rng(1).normal(0, 3000, 160_000).astype(np.int16)
    with soundfile.SoundFile(file, "w", 16_000, 1, format="WAV", subtype="PCM_16") as clip:
        for _ in range(duration_s // 10):
            clip.write(block)
    return file.getvalue()


def _unfilled(wav: bytes) -> bytes:
    return wav[:40] + bytes(4) + wav[44:]


def _chunks(head: bytes, name: bytes) -> bytes:
    return head + (name + bytes(4)) * (_CLIP_BYTES // 8)


def _mp3() -> bytes:
    return sound(("MP3", "MPEG_LAYER_III", 1), 0.5)


def _ogg_pages() -> bytes:
    ogg = sound(("OGG", "VORBIS", 1))
    pages = [ogg[:58]]
    for number in range(1, 600_000):
        page = bytearray(b"OggS\0\0" + bytes(8) + ogg[14:18] + struct.pack("<I", number) + bytes(5))
        page[22:26] = page_checksum(bytes(page)).to_bytes(4, "little")
        pages.append(bytes(page))
    return b"".join(pages)


def _many_channels() -> bytes:
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1000, 16_000, 32_000_000, 2000, 16)
    data = bytes(20_000_000)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE" + fmt + b"data" + struct.pack("<I", len(data)) + data


# --- the rest ------------------------------------------------------------------------------------


def _others() -> list[Target]:
    return [_bomb("a state of a million million parts", _many_parts, _read_state)]


def _many_parts() -> bytes:
    content = json.loads(grown_state().to_json().replace(b'"parts": 2', b'"parts": 1000000000000'))
    del content["checksum"]
    return json_with_checksum(content)


def _read_state(made: bytes) -> str:
    State.from_json(made)
    return FINE
