"""Sound bytes -> damaged bytes, by a seeded generator: the same seed, the same damage."""

import struct
from collections.abc import Callable, Sequence
from random import Random

SIZES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1)
"""What a length field is set to."""
NUMBERS = (b"0", b"-1", b"99999999999", b"18446744073709551616", b"1e999", b"NaN", b"0x10", b"9" * 400, b"")
"""What a number in text becomes."""
LONG = 65_536
NAMES = (
    *("../../../etc/passwd", "/etc/passwd", "..", ".", "", " ", "a/../../b.wav", "C:\\con.wav", "~/x.wav", "-rf.wav"),
    *("nul\0byte.wav", "\u202egnp.wav", "\u2066x\u2069.wav", "line\nfeed.wav", "\x1b[2J.wav", "x" * LONG, "ก" * LONG),
    *(
        "a/" * 2000 + "b.wav",
        "<script>alert(1)</script>.wav",
        "[x](javascript:1).wav",
        "`|<!-- -->|`.wav",
        "\ufeff.wav",
    ),
    *("e\u0301.wav", "%00.wav", "$(reboot).wav", "{0.__class__}.wav", "%s%n.wav", "\ud7ff.wav", "\U0010ffff.wav"),
)
"""Names that are paths, markup or noise."""


def mutated(sound: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """One to four ways of damage, one after the other; seldom none."""
    damaged = sound
    for _ in range(random.choice((0, 1, 1, 1, 1, 2, 2, 3, 4))):
        damaged = random.choice(_WAYS)(damaged, random)
    return spliced(damaged, random.choice(others), random) if random.random() < 0.1 else damaged


def spliced(one: bytes, other: bytes, random: Random) -> bytes:
    """The beginning of one file and the end of another."""
    return one[: _place(one, random)] + other[_place(other, random) :]


def _flip_bits(content: bytes, random: Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if flipped:
            flipped[_place(content, random)] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _flip_bits_in_front(content: bytes, random: Random) -> bytes:
    return _flip_bits(content[:200], random) + content[200:]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: _place(content, random)]


def _cut_a_little(content: bytes, random: Random) -> bytes:
    return content[: -random.randrange(1, 40)]


def _cut_the_start(content: bytes, random: Random) -> bytes:
    return content[_place(content, random) :]


def _remove_block(content: bytes, random: Random) -> bytes:
    begin, end = _block(content, random)
    return content[:begin] + content[end:]


def _repeat_block(content: bytes, random: Random) -> bytes:
    begin, end = _block(content, random)
    return content[:end] + content[begin:end] * random.choice((1, 1, 2, 30)) + content[end:]


def _swap_blocks(content: bytes, random: Random) -> bytes:
    a, b, c = sorted(_place(content, random) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _fill_block(content: bytes, random: Random) -> bytes:
    begin, end = _block(content, random)
    return content[:begin] + random.choice((b"\0", b"\xff", b" ", b"7")) * (end - begin) + content[end:]


def _noise(content: bytes, random: Random) -> bytes:
    begin, end = _block(content, random)
    return content[:begin] + random.randbytes(end - begin) + content[end:]


def _insert(content: bytes, random: Random) -> bytes:
    at = _place(content, random)
    token = random.choice(
        (b"\0" * 600, b"\n", b"\t", b'"', b"\xff\xfe", b"\xed\xa0\x80", b"[" * 5000, random.randbytes(9))
    )
    return content[:at] + token + content[at:]


def _huge_length(content: bytes, random: Random) -> bytes:
    """A field of two, four or eight bytes, in either byte order, says something else."""
    width = random.choice("HIQ")
    field = struct.pack(random.choice("<>") + width, random.choice(SIZES) & ((1 << 8 * struct.calcsize(width)) - 1))
    at = random.randrange(max(1, min(len(content), random.choice((64, 600, 1 << 30)))))
    return content[:at] + field + content[at + len(field) :]


def _other_number(content: bytes, random: Random) -> bytes:
    """A run of digits becomes another number."""
    digits = [at for at, byte in enumerate(content[:20_000]) if 48 <= byte <= 57]
    if not digits:
        return _huge_length(content, random)
    begin = end = random.choice(digits)
    while end < len(content) and 48 <= content[end] <= 57:
        end += 1
    return content[:begin] + random.choice(NUMBERS) + content[end:]


_WAYS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(_flip_bits, _flip_bits, _flip_bits_in_front, _flip_bits_in_front, _huge_length, _huge_length, _other_number),
    *(_cut, _cut_a_little, _cut_the_start, _remove_block, _repeat_block, _swap_blocks, _fill_block, _noise, _insert),
)


def _place(content: bytes, random: Random) -> int:
    return random.randrange(len(content)) if content else 0


def _block(content: bytes, random: Random) -> tuple[int, int]:
    begin = _place(content, random)
    return begin, min(len(content), begin + random.choice((1, 4, 16, 100, 512, 4096)))
