"""Which IDs the published shards of a split hold, on disk: 96 bits of hash an ID, and less than a byte of directory.

A cache, and nothing but: the shards decide (law 3), and what is lost or damaged here is read from them again.
Entries are in *runs*: immutable files, each with the IDs of some neighbouring shards. New IDs make a new run,
which takes in the smaller ones before it, so that each run is at least four times as large as the next: there are
few of them, and adding costs the same on average however many IDs there are.

    <first>-<end>-<digest>.ids    the IDs of the shards first to end - 1; digest: xxh3-64 of the file's bytes
      header      magic, first, end, number of entries, bits of the directory, xxh3-128 of those shards' sha256s
      entries     12 bytes each, the first ones of the ID's xxh3-128, sorted by the first 8
      directory   4 bytes for each bucket (by the first bits of an entry): which entry it begins with; and the end

A run is written under a temporary name, fsynced and renamed; only then are those that it replaces deleted. Opening
takes the runs that are whole, are of just these shards, and follow each other from the first shard on
without a gap; all others are deleted. So no run can claim an ID of another generation, of a shard that
was repaired since, or of one that was never committed. (Two of ten million IDs have one hash with p < 1e-15.)
"""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from utils.disk.durable import TEMPORARY_SUFFIX, NewFile, fsync_folder, make_folder, remove, rename

ENTRY_BYTES = 12
_MAGIC = b"ID-RUN-1"
_HEADER = struct.Struct("<8sIIQI16s")
_GROWTH = 4
_BUCKET_ENTRIES = 32
"""How many entries the fullest buckets have on average: what one look-up reads."""
_SLICE_BITS = 6
"""Runs are merged in 64 slices, by the first bits of their entries: so much of them at a time is in memory."""
_BLOCK_BYTES = 2**20

Entries: TypeAlias = NDArray[np.uint8]
"""Rows of 12 bytes, in order."""


class IdIndex:
    """The IDs of the first `covered` of some shards. Shards are named by their sha256, in published order."""

    def __init__(self, folder: Path, shards: Sequence[str]) -> None:
        """Open what there is of these shards; whatever else is in the folder is deleted."""
        self._folder = folder
        self._shards = list(shards)
        self._runs = self._recover()
        self._shards = self._shards[: self.covered]

    def __contains__(self, sample_id: object) -> bool:
        if not isinstance(sample_id, str):
            return False
        entry = xxhash.xxh3_128_digest(sample_id.encode())[:ENTRY_BYTES]
        return any(run.holds(entry) for run in self._runs)

    def __len__(self) -> int:
        return sum(run.count for run in self._runs)

    @property
    def covered(self) -> int:
        """How many of the shards, from the first on, it has."""
        return self._runs[-1].end if self._runs else 0

    @property
    def size_bytes(self) -> int:
        """On the disk. While runs are merged, the new one comes on top."""
        return sum(run.path.stat().st_size for run in self._runs)

    def add(self, ids: Iterable[str], shards: Sequence[str]) -> None:
        """Enter all IDs of the next shards, once their commit has landed (law 1).

        All of them or none: after an error, `covered` says which.
        """
        first = end = self.covered
        merged: list[_Source] = [_Batch.of(ids)]
        kept = list(self._runs)
        while kept and kept[-1].count < _GROWTH * sum(source.count for source in merged):
            merged.append(kept.pop())
        replaced = self._runs[len(kept) :]
        if replaced:
            first = replaced[0].first
        self._shards += shards
        try:
            run = self._write(merged, first, end + len(shards))
        except BaseException:
            del self._shards[end:]
            raise
        self._runs = [*kept, run]
        for old in replaced:
            old.close()
        for old in replaced:
            remove(old.path)

    def close(self) -> None:
        for run in self._runs:
            run.close()

    def _recover(self) -> list["_SortedRun"]:
        """The runs to use, from the first shard on; the longest where several begin with the same shard."""
        found = []
        for path in sorted(self._folder.glob("*")):
            run = _SortedRun.read(path) if path.suffix == ".ids" else None
            if run and run.end <= len(self._shards) and run.of_shards == self._digest(run.first, run.end):
                found.append(run)
            else:
                if run:
                    run.close()
                remove(path)
        taken: list[_SortedRun] = []
        for run in sorted(found, key=lambda run: (run.first, -run.end)):
            if run.first == (taken[-1].end if taken else 0) and run.end > run.first:
                taken.append(run)
            else:
                run.close()
                remove(run.path)
        return taken

    def _digest(self, first: int, end: int) -> bytes:
        return xxhash.xxh3_128_digest("\n".join(self._shards[first:end]).encode())

    def _write(self, sources: Sequence["_Source"], first: int, end: int) -> "_SortedRun":
        make_folder(self._folder)
        temporary = self._folder / f"new{TEMPORARY_SUFFIX}"
        count = sum(source.count for source in sources)
        bits = max(_SLICE_BITS, (count // _BUCKET_ENTRIES).bit_length())
        hasher = xxhash.xxh3_64()
        with NewFile(temporary) as new:
            header = _HEADER.pack(_MAGIC, first, end, count, bits, self._digest(first, end))
            for block in chain([header], _merged(sources, bits)):
                hasher.update(block)
                new.write(block)
        path = self._folder / f"{first:05d}-{end:05d}-{hasher.hexdigest()}.ids"
        rename(temporary, path)
        fsync_folder(self._folder)
        run = _SortedRun.read(path)
        if run is None:
            raise OSError(f"{path} is not what was just written to it: the disk is damaged")
        return run


class _Source(Protocol):
    """Entries that go into a run."""

    @property
    def count(self) -> int: ...

    def slice(self, number: int) -> Entries:
        """The entries whose first 6 bits are `number`."""


@dataclass(frozen=True)
class _Batch:
    """Entries in memory."""

    entries: Entries
    borders: NDArray[np.intp]
    """Where each slice begins, and the end."""

    @property
    def count(self) -> int:
        return len(self.entries)

    def slice(self, number: int) -> Entries:
        return self.entries[self.borders[number] : self.borders[number + 1]]

    @classmethod
    def of(cls, ids: Iterable[str]) -> "_Batch":
        """From IDs, hashed some at a time: they may come from a generator, and be many."""
        source, blocks = iter(ids), [np.empty((0, ENTRY_BYTES), np.uint8)]
        while digests := b"".join(xxhash.xxh3_128_digest(one.encode()) for one in islice(source, 100_000)):
            blocks.append(np.frombuffer(digests, np.uint8).reshape(-1, 16)[:, :ENTRY_BYTES].copy())
        entries = _sorted(np.concatenate(blocks))
        firsts = np.arange(2**_SLICE_BITS, dtype=np.uint64) << np.uint64(64 - _SLICE_BITS)
        borders = np.append(np.searchsorted(_leading(entries), firsts), len(entries))
        return cls(entries, borders)


@dataclass(frozen=True)
class _SortedRun:
    """A run, open for reading. Its directory is in memory (about 0.2 bytes an ID), its entries are not."""

    path: Path
    file: BinaryIO
    first: int
    end: int
    count: int
    bits: int
    of_shards: bytes
    starts: NDArray[np.uint32]

    @classmethod
    def read(cls, path: Path) -> "_SortedRun | None":
        """The run in a file; None where it is not just what was written: its name says what it hashes to."""
        file = path.open("rb", buffering=0)
        try:
            if path.stem.rpartition("-")[2] == _digest_of(file):
                magic, first, end, count, bits, of_shards = _HEADER.unpack(os.pread(file.fileno(), _HEADER.size, 0))
                if magic == _MAGIC:
                    at = _HEADER.size + count * ENTRY_BYTES
                    starts = np.frombuffer(os.pread(file.fileno(), 4 * (2**bits + 1), at), "<u4")
                    return cls(path, file, first, end, count, bits, of_shards, starts)
        except struct.error:
            pass  # of another form
        except BaseException:
            file.close()
            raise
        file.close()
        return None

    def close(self) -> None:
        self.file.close()

    def holds(self, entry: bytes) -> bool:
        bucket = int.from_bytes(entry[:8]) >> (64 - self.bits)
        # That it stands across two others by chance is less likely still than that two IDs have one hash.
        return entry in self._entries(int(self.starts[bucket]), int(self.starts[bucket + 1]))

    def slice(self, number: int) -> Entries:
        buckets = 2 ** (self.bits - _SLICE_BITS)
        block = self._entries(int(self.starts[number * buckets]), int(self.starts[(number + 1) * buckets]))
        return np.frombuffer(block, np.uint8).reshape(-1, ENTRY_BYTES)

    def _entries(self, first: int, end: int) -> bytes:
        return os.pread(self.file.fileno(), (end - first) * ENTRY_BYTES, _HEADER.size + first * ENTRY_BYTES)


def _merged(sources: Sequence[_Source], bits: int) -> Iterator[bytes]:
    """The entries of all sources in order, a slice at a time, and then the directory."""
    buckets = 2 ** (bits - _SLICE_BITS)
    sizes = np.zeros(2**bits + 1, np.uint32)
    for number in range(2**_SLICE_BITS):
        entries = _sorted(np.concatenate([source.slice(number) for source in sources]))
        inside = (_leading(entries) >> np.uint64(64 - bits)).astype(np.int64) - number * buckets
        sizes[1 + number * buckets : 1 + (number + 1) * buckets] = np.bincount(inside, minlength=buckets)
        yield entries.tobytes()
    yield np.cumsum(sizes, dtype=np.uint32).astype("<u4").tobytes()


def _leading(entries: Entries) -> NDArray[np.uint64]:
    """The first 8 bytes of each entry as a number."""
    return np.ascontiguousarray(entries[:, :8]).view(">u8").ravel().astype(np.uint64)


def _sorted(entries: Entries) -> Entries:
    return entries[np.argsort(_leading(entries), kind="stable")]


def _digest_of(file: BinaryIO) -> str:
    hasher = xxhash.xxh3_64()
    while block := file.read(_BLOCK_BYTES):
        hasher.update(block)
    return hasher.hexdigest()
