"""Where blocks of a deflate stream begin, found without reading it bit by bit; and how to enter one at such a place.

zlib begins where a stream begins and says nothing of the blocks in it, and so does zlib-ng, which unpacks a quarter
faster. Both can be had:

- A block with codes of its own begins with a header that hardly any other bits look like: in noise one place in a
  thousand. A stored block begins with its length, twice. So places are guessed from the bits, all at once with numpy,
  and `find_block` believes only one from which the decompressor gives the very bytes that came out the first time.
- A block begins at any bit, a decompressor at a whole byte. Empty blocks of odd lengths fill the bits between
  (`BlockStart.first_bytes`), and the 32 KB before the block are given to it as its dictionary.

Streams without such blocks (one block that never ends, or fixed codes alone) have no places to enter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

DamagedStream: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # its stub takes it for a value
WINDOW_BYTES = 2**15
"""How far back a deflate stream points."""

_PROBE_BYTES = 2048
"""Most places that look like a header are none: their codes don't fit together, which shows in these."""
_HEADER_BYTES = 16
"""Bytes that are looked at to see a block's header (3 + 5 + 5 + 4 bits, and 19 lengths of 3), and some to spare."""
_STRIP_BYTES = 8192
_PROOF_BYTES = 1024
"""So many packed bytes, and more, must come out right behind a place that is believed."""
_MAX_CANDIDATES = 1000
_MAX_PROBABLE = 4
"""Of a piece of 64 KB. In noise there are 250 and one; a stream may be made so that each place looks like a header."""
_ZEROS = bytes(WINDOW_BYTES)
_EMPTY_FIXED = (0b010, 10)
"""A block that holds nothing: not the last one, fixed codes, end of block. Value (lowest bit first) and bits."""


@dataclass(frozen=True)
class BlockStart:
    """A place in a raw deflate stream at which a block begins."""

    offset: int
    """The byte that holds the block's first bit; of a stored one, the first byte of its length."""
    bit: int
    """Bits of that byte that belong to the block before."""
    is_stored: bool

    def first_bytes(self, first: int) -> bytes:
        """What to give a decompressor in place of the byte at `offset`, which is `first`."""
        if self.is_stored:
            return bytes([0, first])
        if not self.bit:
            return bytes([first])
        value, bits = _filling(self.bit)
        return (value | (first >> self.bit) << bits).to_bytes((bits + 8 - self.bit) // 8, "little")


def raw_inflater(window: bytes = b"") -> "zlib_ng._Decompress":
    """A decompressor for a deflate stream without any header, or for what comes in one behind `window`."""
    if not window:
        return zlib_ng.decompressobj(-zlib_ng.MAX_WBITS)
    return zlib_ng.decompressobj(-zlib_ng.MAX_WBITS, zdict=window)


def entered(entry: BlockStart, first: int, window: bytes) -> "tuple[zlib_ng._Decompress, bytes]":
    """A decompressor for the stream from `entry` on, and what to give it in place of the byte there."""
    return raw_inflater(window), entry.first_bytes(first)


def find_block(packed: bytes, unpacked: bytes, window: bytes) -> tuple[BlockStart, int] | None:
    """The first block that begins in `packed`, and how much of `unpacked` comes before it; None where none is seen.

    `packed` is a piece of a raw deflate stream, `unpacked` what came out of it, `window` what came out just before.
    """
    for entry in islice(_probable(packed), _MAX_PROBABLE):
        guessed = _from(entry, packed, _ZEROS, len(unpacked) + 1)
        before = len(unpacked) - len(guessed) if guessed else -1
        if before < 0:
            continue
        known = (window + unpacked[:before])[-WINDOW_BYTES:]
        if _from(entry, packed, known, len(unpacked) + 1) == unpacked[before:]:
            return entry, before
    return None


def _probable(packed: bytes) -> Iterator[BlockStart]:
    """The candidates from which something comes out."""
    for entry in islice(_candidates(packed), _MAX_CANDIDATES):
        if _from(entry, packed[: entry.offset + _PROBE_BYTES], _ZEROS, WINDOW_BYTES):
            yield entry


def _from(entry: BlockStart, packed: bytes, window: bytes, most_bytes: int) -> bytes | None:
    """What comes out from `entry` to the end of `packed`; None where it is no place to enter or the stream ends."""
    decompressor, first_bytes = entered(entry, packed[entry.offset], window)
    try:
        unpacked = decompressor.decompress(first_bytes + packed[entry.offset + 1 :], most_bytes)
    except DamagedStream:
        return None
    return None if decompressor.eof else unpacked


def _candidates(packed: bytes) -> Iterator[BlockStart]:
    """Places that look like the beginning of a block, in order."""
    # A strip at a time, as a block rarely is longer than some of them; each with a header more, to end in.
    for start in range(0, len(packed) - _PROOF_BYTES, _STRIP_BYTES):
        end = min(start + _STRIP_BYTES, len(packed) - _PROOF_BYTES)
        strip = np.frombuffer(packed[start : end + _HEADER_BYTES], np.uint8)
        for place in np.sort(np.concatenate([_stored(strip), _dynamic(strip)])).tolist():
            offset, kind = divmod(place, 16)
            entry = BlockStart(start + offset, kind % 8, kind >= 8)
            if not entry.is_stored or _ends_in(packed, entry.offset):
                yield entry


def _ends_in(packed: bytes, length_at: int) -> bool:
    """Whether a stored block is followed by enough to prove it. Its content proves nothing: it comes out as it is."""
    return length_at + 4 + int.from_bytes(packed[length_at : length_at + 2], "little") <= len(packed) - _PROOF_BYTES


def _stored(content: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Of bytes that a stored block's length may begin with, 16 times the offset, and 8: a length and its complement."""
    count = len(content) - _HEADER_BYTES
    first, second, third, fourth = (content[at : at + count] for at in range(4))
    opposite = (first ^ third ^ 0xFF) | (second ^ fourth ^ 0xFF)
    # What is not stored never looks so often enough to matter; zeros before the length fill up its first byte.
    return np.flatnonzero(opposite == 0) * 16 + 8


def _dynamic(content: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Of bits that the header of a block with codes of its own may begin with: 16 times the offset, and the bit."""
    count = len(content) - _HEADER_BYTES
    words = np.lib.stride_tricks.as_strided(
        np.frombuffer(content[: count + _HEADER_BYTES].tobytes(), "<u8", 1), (count + 4,), (1,), writeable=False
    )
    pairs = content[:count] | content[1 : count + 1].astype(np.uint16) << np.uint16(8)
    found = []
    for bit in range(8):
        # Not the last block, codes of its own (0b10); at most 286 codes for bytes and lengths, 30 for distances.
        offsets = np.flatnonzero(pairs & np.uint16(7 << bit) == np.uint16(4 << bit))
        head = words[offsets] >> np.uint64(bit)
        fits = ((head >> np.uint64(3) & np.uint64(31)) < 30) & ((head >> np.uint64(8) & np.uint64(31)) < 30)
        offsets, head = offsets[fits], head[fits]
        lengths = words[offsets + (bit + 17) // 8] >> np.uint64((bit + 17) % 8)
        lengths &= (
            np.uint64(1) << (((head >> np.uint64(13) & np.uint64(15)) + np.uint64(4)) * np.uint64(3))
        ) - np.uint64(1)
        shares = sum(_SHARES[(lengths >> np.uint64(12 * part) & np.uint64(4095)).astype(np.intp)] for part in range(5))
        found.append(offsets[shares == 128] * 16 + bit)
    return np.concatenate(found)


def _shares_of_four() -> NDArray[np.uint16]:
    """For any four lengths of codes (12 bits): what share of all codes they take, in 128ths. All must take 128."""
    of_one = np.array([0, 64, 32, 16, 8, 4, 2, 1], np.uint16)
    four = np.arange(4096)
    return sum((of_one[four >> 3 * at & 7] for at in range(4)), np.zeros(4096, np.uint16))


_SHARES = _shares_of_four()


def _filling(bits: int) -> tuple[int, int]:
    """Empty blocks that end `bits` bits behind a whole byte: value (lowest bit first) and length in bits."""
    value, length = _EMPTY_DYNAMIC if bits % 2 else (0, 0)
    while length % 8 != bits:
        value |= _EMPTY_FIXED[0] << length
        length += _EMPTY_FIXED[1]
    return value, length


def _empty_dynamic() -> tuple[int, int]:
    """A block of 95 bits that holds nothing: of an odd length, as no block with fixed codes that holds nothing is."""
    value = length = 0

    def add(number: int, bits: int) -> None:
        nonlocal value, length
        value |= number << length
        length += bits

    add(0b100, 3)  # not the last one, codes of its own
    add(0, 5)  # 257 codes for bytes and lengths
    add(0, 5)  # 1 for distances
    add(15, 4)  # 19 lengths of codes for lengths, in the order of deflate: 18 has one bit, 0 and 1 have two
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15):
        add({18: 1, 0: 2, 1: 2}.get(symbol, 0), 3)
    for repeated in (138, 118):  # 256 bytes have no code
        add(0, 1)
        add(repeated - 11, 7)
    add(0b11, 2)  # the end of the block has one of 1 bit
    add(0b01, 2)  # distances have none
    add(0, 1)  # the end of the block
    return value, length


_EMPTY_DYNAMIC = _empty_dynamic()
