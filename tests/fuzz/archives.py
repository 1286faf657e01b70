"""Sources' files: tar, gzip, TSV and Parquet, by themselves and through the processors that read them."""

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from processors.readers.parquet import read_parquet
from processors.readers.release_folder import table_rows
from processors.readers.spec import Columns
from processors.readers.tar import read_tars
from tests.fuzz.audio import sound
from tests.fuzz.ending import FINE, REJECTED, Target, check, ending_of_clips
from tests.fuzz.mutate import NAMES, mutated
from tests.mirrors import opener
from utils.rows.schema import AUDIO_TYPE, START
from utils.text.normalize import normalize_transcript

Files = Mapping[str, bytes]
_TEXTS = (
    "สวัสดีครับ",
    "",
    "a\u0301\u200bb",
    "ก\u0e48\u0e49\u0e4d\u0e32",
    "\u202eกขค",
    "x" * 3000,
    "=1+1",
    "\ud7ff\U0010fffd",
)


def targets() -> list[Target]:
    return [
        Target("tar", _make_tar, _read_tar, share=3),
        Target("gzip", _make_gzip, _read_tar, share=3),
        Target("TSV", _make_table, _read_table, share=4),
        Target("Parquet (source)", _make_parquet, _read_parquet, share=3),
        Target("GigaSpeech2", partial(_make_mirror, _gigaspeech2), partial(_read_mirror, "GigaSpeech2"), share=0.6),
        Target(
            "MozillaCV", partial(_make_mirror, _common_voice), partial(_read_mirror, "MozillaCommonVoice"), share=0.6
        ),
        Target(
            "ProcessedVoiceTH", partial(_make_mirror, _voice_th), partial(_read_mirror, "ProcessedVoiceTH"), share=0.6
        ),
        Target("transcript", _make_transcript, _read_transcript, share=2),
    ]


class MemoryFiles:
    """A source's files in memory, or opened by whatever makes them."""

    revision = as_found = "memory"

    def __init__(self, files: Mapping[str, bytes | Callable[[], BinaryIO]]) -> None:
        self._files = files

    def names(self) -> Sequence[str]:
        return sorted(self._files)

    def size_bytes(self, name: str) -> int:
        content = self._files[name]
        return len(content) if isinstance(content, bytes) else 0

    def open(self, name: str) -> BinaryIO:
        content = self._files[name]
        return io.BytesIO(content) if isinstance(content, bytes) else content()

    def expect(self, *names: str) -> None:
        """All files are here."""

    def close(self) -> None:
        """Nothing is fetched."""


@cache
def _wav() -> bytes:
    return sound(("WAV", "PCM_16", 1))


# --- tar and gzip --------------------------------------------------------------------------------


def tar_of(members: Sequence[tuple[str, bytes]], kind: int = tarfile.GNU_FORMAT, **fields: Any) -> bytes:
    """A tar file; `fields` are set on every member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind, errors="surrogateescape") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@cache
def _tars() -> tuple[bytes, ...]:
    clips = [("0/1/0-1-0.wav", _wav()), ("0/1/0-1-1.wav", b"no sound"), ("README", b"text" * 200), ("0-1-2.mp3", b"")]
    with_long = [*clips, ("d/" * 120 + "long.wav", b"RIFF"), ("ก" * 90 + ".ogg", b"OggS")]
    return (
        tar_of(clips, tarfile.USTAR_FORMAT),
        tar_of(with_long, tarfile.GNU_FORMAT),
        tar_of(with_long, tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 600}),
        tar_of(clips, tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.map": "0,4", "GNU.sparse.size": "8"}),
        tar_of([("a.wav", b"")], type=tarfile.SYMTYPE, linkname="../../etc/passwd"),
    )


def _make_tar(random: Random) -> bytes:
    """A damaged tar in a sound gzip; or a sound tar with odd names."""
    if random.random() < 0.15:
        names = [random.choice(NAMES) for _ in range(3)]
        tar = tar_of([(name, b"RIFF") for name in names], random.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))
    else:
        tar = mutated(random.choice(_tars()), _tars(), random)
        if random.random() < 0.6:
            tar = _resealed(tar, random)
    return gzip.compress(tar, 1)


def _resealed(tar: bytes, random: Random) -> bytes:
    """With right checksums in whatever stands where headers stand, so that the damage gets past them."""
    sealed = bytearray(tar)
    for at in range(0, len(tar) - 511, 512):
        if tar[at + 257 : at + 262] == b"ustar":
            if random.random() < 0.2:
                sealed[at + 156] = random.choice(b"0gxLKSVM12357")
            sealed[at + 148 : at + 156] = b" " * 8
            sealed[at + 148 : at + 156] = b"%06o\0 " % sum(sealed[at : at + 512])
    return bytes(sealed)


@cache
def _gzips() -> tuple[bytes, ...]:
    members = [gzip.compress(tar, 6) for tar in _tars()]
    return (*members, gzip.compress(_tars()[0], 0), gzip.compress(_tars()[0][:1024]) + gzip.compress(_tars()[0][1024:]))


def _make_gzip(random: Random) -> bytes:
    return mutated(random.choice(_gzips()), _gzips(), random)


def _read_tar(made: bytes, folder: Path) -> str:
    files = MemoryFiles({"a.tar.gz": made})
    clips = read_tars(files, ["a.tar.gz"], dict(START), lambda key: None if key.endswith("2") else "คำ", lambda: None)
    return ending_of_clips(clip for clip in clips if clip.selected)


# --- TSV -----------------------------------------------------------------------------------------


@cache
def _tables() -> tuple[bytes, ...]:
    header = "client_id\tpath\tsentence\tage\n"
    rows = "".join(
        f"c{row % 3}\t{name}\t{text}\t20\n" for row, (name, text) in enumerate(zip(NAMES, _TEXTS, strict=False))
    )
    plain = "".join(f"c\tclip_{row}.mp3\tประโยคที่ {row}\t\n" for row in range(20))
    return (
        (header + plain).encode(),
        (header + rows).encode("utf-8", "replace"),
        ("\ufeff" + header.replace("\n", "\r\n") + plain).encode(),
        (header + plain).encode("utf-16"),
    )


def _make_table(random: Random) -> bytes:
    return mutated(random.choice(_tables()), _tables(), random)


def _read_table(made: bytes, folder: Path) -> str:
    found = 0
    for row, end in table_rows(io.BytesIO(made), "table.tsv", ("path", "sentence")):
        check(bool(row["path"]), "a row without its first column")
        check(0 < end <= len(made) + 1, "an offset outside the table")
        "".join(row.values()).encode()
        found += 1
    return FINE if found else REJECTED


# --- Parquet -------------------------------------------------------------------------------------

_SCHEMA = pa.schema([("audio", AUDIO_TYPE), ("sentence", pa.string()), ("votes", pa.int32()), ("when", pa.date32())])
_COLUMNS = Columns(metadata=("votes", "when"))


def parquet_of(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def _voices(rows: int, names: Sequence[str] = ()) -> pa.Table:
    cells = [
        {
            "audio": {"bytes": _wav() if row == 0 else b"no sound", "path": names[row] if names else f"{row}.wav"},
            "sentence": _TEXTS[row % len(_TEXTS)] or None,
            "votes": row,
            "when": (10_000, -5, 700_000, None, 0)[row % 5],
        }
        for row in range(rows)
    ]
    return pa.Table.from_pylist(cells, schema=_SCHEMA)


@cache
def _parquets() -> tuple[bytes, ...]:
    table = _voices(6)
    odd = pa.table({"audio": table["audio"], "sentence": [["a"], None, ["b"], [], ["c", "d"], ["e"]], "votes": [1] * 6})
    return (
        parquet_of(table, compression="none", row_group_size=4),
        parquet_of(table, compression="zstd", data_page_version="2.0", write_page_index=True),
        parquet_of(table, compression="snappy", use_dictionary=False, write_statistics=False),
        parquet_of(table, compression="gzip", use_dictionary=["sentence"], row_group_size=2),
        parquet_of(table, column_encoding={"sentence": "DELTA_BYTE_ARRAY"}, use_dictionary=False),
        parquet_of(table.set_column(3, "when", pa.array([2**31 - 1] * 6, pa.date32()))),
        parquet_of(odd.append_column("when", pa.array(["x"] * 6))),
    )


def _make_parquet(random: Random) -> bytes:
    if random.random() < 0.03:
        return parquet_of(_voices(4, random.sample(NAMES, 4)))
    return mutated(random.choice(_parquets()), _parquets(), random)


def _read_parquet(made: bytes, folder: Path) -> str:
    return ending_of_clips(read_parquet(MemoryFiles({"a.parquet": made}), ["a.parquet"], _COLUMNS, dict(START)))


# --- whole processors ----------------------------------------------------------------------------


@cache
def _gigaspeech2() -> Files:
    members = [("0/1/0-1-0.wav", _wav()), ("0/1/0-1-1.wav", b"no sound")]
    table = "0-1-0\tสวัสดี\n0-1-1\tครับ\n".encode()
    return {"data/th/dev.tar.gz": gzip.compress(tar_of(members)), "data/th/dev.tsv": table}


@cache
def _common_voice() -> Files:
    rows = "client_id\tpath\tsentence\nc\ta.mp3\tสวัสดี\nc\tb.mp3\tครับ\nd\tc.mp3\tค่ะ\n".encode()
    tables = [(f"cv/th/{name}.tsv", rows) for name in ("train", "dev", "test")]
    durations = ("cv/th/clip_durations.tsv", b"clip\tduration[ms]\na.mp3\t150\nb.mp3\tnan\nc.mp3\t1e999\n")
    clips = [("cv/th/clips/a.mp3", sound(("MP3", "MPEG_LAYER_III", 1))), ("cv/th/clips/b.mp3", b"no sound")]
    return {"cv-corpus-25.0-2026-03-09-th.tar.gz": gzip.compress(tar_of([*clips, durations, *tables]))}


@cache
def _voice_th() -> Files:
    return {
        f"data/{split}-0.parquet": parquet_of(_voices(3).select(["audio", "sentence"])) for split in ("dev", "test")
    }


def _make_mirror(files: Callable[[], Files], random: Random) -> Files:
    """A mirror, one of whose files is damaged; of an archive, sometimes inside."""
    name = random.choice(sorted(files()))
    content = files()[name]
    if name.endswith(".gz") and random.random() < 0.6:
        tar = mutated(gzip.decompress(content), [content], random)
        return {**files(), name: gzip.compress(_resealed(tar, random), 1)}
    return {**files(), name: mutated(content, list(files().values()), random)}


def _read_mirror(source: str, made: Files, folder: Path) -> str:
    with closing(opener(folder)(source, made).read("validation", dict(START))) as clips:
        return ending_of_clips(clips)


# --- transcripts ---------------------------------------------------------------------------------

_CHARACTERS = [
    *map(chr, range(0x0E00, 0x0E5C)),
    *" \n\t\0\u200b\u202e\u0301\u0316\u1100\u1161a0",
    "\ud800",
    "\U0010ffff",
]


def _make_transcript(random: Random) -> str:
    """A few characters many times over, between others."""
    unit = "".join(random.choice(_CHARACTERS) for _ in range(random.choice((1, 2, 2, 3, 5))))
    length = random.choice((10, 100, 1000, 1000, 5000))
    text = (
        (unit * length)[:length]
        if random.random() < 0.5
        else "".join(random.choice(_CHARACTERS) for _ in range(length))
    )
    return "".join((random.choice(_CHARACTERS), text, random.choice(_CHARACTERS)))


def _read_transcript(made: str, folder: Path) -> str:
    normal = normalize_transcript(made)
    normal.encode()
    check(normalize_transcript(normal) == normal, "normalizing a normal transcript changes it")
    return FINE
