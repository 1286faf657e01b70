"""MPEG audio (MP3) frames: how many there are, how many were promised, and whether the last one is whole.

libsndfile (mpg123 inside) guesses the length of an MP3 that has no Xing header from its first frames. With a
variable bit rate the guess may be ten times off, and what lies behind it is never decoded; a file that
was cut short is decoded to its end without a word. So the frames are walked here, by their headers
alone: about 0.5 us a frame, against 10 us for decoding one.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

SEARCH_BYTES: Final = 64 * 1024
"""How far from the start the first frame may be, after the tags; mpg123 itself gives up there."""

MAX_TAGS: Final = 16
"""ID3v2 tags in front of the audio that are passed over; ten bytes are a tag, so a file may hold millions."""

HEADER_BYTES: Final = 4
_VERSION_1: Final = 3
_RATES_HZ: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBPS_V2_LAYERS_2_AND_3: Final = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KBPS: Final = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): _KBPS_V2_LAYERS_2_AND_3,
    (False, 3): _KBPS_V2_LAYERS_2_AND_3,
}


@dataclass(frozen=True, slots=True)
class MpegScan:
    """What the frame headers of a file say."""

    first: int
    """Where the first frame of audio begins (a Xing header's frame holds none and is left out)."""
    frames: int
    """Frames of audio that are there, a last one that is cut short included."""
    samples_per_frame: int
    promised_frames: int | None
    """Frames of audio according to the Xing header; None where there is none."""
    cut_short: bool
    """The last frame ends after the end of the file."""

    @property
    def samples(self) -> int:
        return self.frames * self.samples_per_frame


MAX_AT_ONCE: Final = 128
"""Frames that are looked at together: of a file in which no two are alike it must not be all that are left."""
ENOUGH_IN_A_ROW: Final = 4
"""Frames that are like the one before them, for a look at all that follow to be worth its time: of a variable bit rate
two or three in a row are."""


def scan_mpeg(data: bytes) -> MpegScan | None:
    """Walk all frames of an MPEG audio file; None where no frame is found (a free bit rate is not read)."""
    first = find_first_frame(data, chain=2)
    if first is None:
        return None
    promised_frames = None
    samples_per_frame = _samples_per_frame(data[first + 1])
    if _is_xing(data, first):
        promised_frames = _xing_frame_count(data, first)
        first += _frame_lengths(_kind(data, first))[data[first : first + 3]]
    frames, cut_short = _walk(data, first)
    return MpegScan(first, frames, samples_per_frame, promised_frames, cut_short)


def find_first_frame(data: bytes, chain: int) -> int | None:
    """Where the first of `chain` frames in a row begins; tags in front are skipped.

    None within 64 KB means that this is not MPEG audio. A single header is four bytes that any data
    may hold by accident; three that follow each other exactly are not an accident.
    """
    at = id3v2_length(data)
    end = at + SEARCH_BYTES
    while (at := data.find(b"\xff", at, end)) >= 0:
        if _chain_length(data, at, chain) == chain:
            return at
        at += 1
    return None


def id3v2_length(data: bytes) -> int:
    """Bytes of the ID3v2 tags in front of the audio, 0 where there are none."""
    at = 0
    for _ in range(MAX_TAGS):
        if data[at : at + 3] != b"ID3" or len(data) < at + 10:
            break
        footer = 10 if data[at + 5] & 0x10 else 0
        at += (
            10
            + footer
            + sum((byte & 0x7F) << shift for byte, shift in zip(data[at + 6 : at + 10], (21, 14, 7, 0), strict=True))
        )
    return at


def readable_in_full(data: bytes, scan: MpegScan, reader_samples: int) -> bytes:
    """The same audio in a form that mpg123 reads to its end, where it would stop after `reader_samples`.

    It stops early where its guess or an old Xing header says fewer frames than there are (more than one
    fewer: the frame of a foreign header counts as one). Then a Xing header with the right number
    takes the place of the old one. Only layer 3 knows such headers.
    """
    is_layer_3 = (data[scan.first + 1] >> 1) & 3 == 1
    reader_frames = scan.promised_frames or reader_samples // scan.samples_per_frame
    if not is_layer_3 or scan.frames <= reader_frames + 1:
        return data
    return _xing_frame(data[scan.first : scan.first + HEADER_BYTES], scan.frames) + data[scan.first :]


def _xing_frame(model: bytes, frame_count: int) -> bytes:
    """A frame without audio, of the same kind as the model, that says how many frames follow."""
    head = bytearray(model)
    head[1] |= 0x01  # no checksum
    head[2] = 0x90 | (head[2] & 0x0C)  # the ninth bit rate: room enough for the header in every version
    frame = bytearray(_frame_lengths(_kind(model, 0))[bytes(head[:3])])
    frame[:HEADER_BYTES] = head
    tag = HEADER_BYTES + _side_information_bytes(model)
    frame[tag : tag + 12] = b"Info" + (1).to_bytes(4, "big") + frame_count.to_bytes(4, "big")
    return bytes(frame)


def _walk(data: bytes, at: int) -> tuple[int, bool]:
    """(frames from here on, whether the last is cut short). Damaged headers and tags are searched through."""
    kind = _kind(data, at)
    length_of, header = _frame_lengths(kind).get, _header_pattern(kind)
    frames, end = 0, len(data)
    before, in_a_row = b"", 0
    while at < end:
        head = data[at : at + 3]
        length = length_of(head)
        if length is None:
            if data[at] == 0xFF and end - at < HEADER_BYTES:
                return frames, True
            found = header.search(data, at + 1)
            if not found:
                return frames, data.find(b"\xff", max(at + 1, end - HEADER_BYTES + 1)) >= 0
            at = found.start()
            continue
        before, in_a_row = head, in_a_row + 1 if head == before else 0
        alike = _alike(data, at, length) if in_a_row >= ENOUGH_IN_A_ROW else 1
        frames += alike
        at += alike * length
    return frames, at > end


def _alike(data: bytes, at: int, length: int) -> int:
    """How many frames from here on have this one's length and first three bytes, up to `MAX_AT_ONCE`: of a constant
    bit rate most have."""
    alike = MAX_AT_ONCE
    for place in range(at, at + 3):
        bytes_there = data[place : place + MAX_AT_ONCE * length : length]
        alike = min(alike, len(bytes_there) - len(bytes_there.lstrip(bytes_there[:1])))
    return alike


def _chain_length(data: bytes, at: int, wanted: int) -> int:
    """How many of the wanted frames follow each other from here on."""
    lengths = _frame_lengths(_kind(data, at))
    for found in range(wanted):
        length = lengths.get(data[at : at + 3])
        if length is None:
            return found
        at += length
    return wanted


def _kind(data: bytes, at: int) -> int:
    """What all frames of a file share: version, layer and sample rate."""
    return int.from_bytes(data[at + 1 : at + 3], "big") & 0xFE0C


def _is_xing(data: bytes, at: int) -> bool:
    tag = at + HEADER_BYTES + _side_information_bytes(data[at : at + HEADER_BYTES])
    return data[tag : tag + 4] in (b"Xing", b"Info")


def _xing_frame_count(data: bytes, at: int) -> int | None:
    tag = at + HEADER_BYTES + _side_information_bytes(data[at : at + HEADER_BYTES])
    has_count = int.from_bytes(data[tag + 4 : tag + 8], "big") & 1
    return int.from_bytes(data[tag + 8 : tag + 12], "big") or None if has_count else None


def _side_information_bytes(head: bytes) -> int:
    """Bytes between a layer 3 frame's header and a Xing header."""
    mono = head[3] >> 6 == 3
    if (head[1] >> 3) & 3 == _VERSION_1:
        return 17 if mono else 32
    return 9 if mono else 17


def _samples_per_frame(second_byte: int) -> int:
    version, layer = (second_byte >> 3) & 3, 4 - ((second_byte >> 1) & 3)
    if layer == 1:
        return 384
    return 1152 if layer == 2 or version == _VERSION_1 else 576


@cache
def _frame_lengths(kind: int) -> dict[bytes, int]:
    """The length in bytes of each frame of a kind by the first three bytes of its header."""
    second, third = kind >> 8, kind & 0xFF
    return {
        bytes((0xFF, second | checksum, third | rest)): length
        for checksum in (0, 1)
        for rest in range(0x100)
        if not rest & 0x0C and (length := _frame_length(second, third | rest)) is not None
    }


@cache
def _header_pattern(kind: int) -> re.Pattern[bytes]:
    """What finds the next frame of a kind: in C, as damaged data may hold nothing but bytes that look like one."""
    seconds, thirds = (sorted({start[place] for start in _frame_lengths(kind)}) for place in (1, 2))
    any_of = [b"".join(re.escape(bytes([byte])) for byte in found) for found in (seconds, thirds)]
    return re.compile(b"\xff[" + any_of[0] + b"][" + any_of[1] + b"]" if all(any_of) else b"(?!)")


def _frame_length(second: int, third: int) -> int | None:
    version, layer = (second >> 3) & 3, 4 - ((second >> 1) & 3)
    if second < 0xE0:
        return None
    kbps_index, rate_index, padding = third >> 4, (third >> 2) & 3, (third >> 1) & 1
    if version == 1 or layer == 4 or rate_index == 3 or kbps_index in (0, 15):
        return None
    bit_rate = 1000 * _KBPS[version == _VERSION_1, layer][kbps_index - 1]
    rate_hz = _RATES_HZ[version][rate_index]
    if layer == 1:
        return (12 * bit_rate // rate_hz + padding) * 4
    return _samples_per_frame(second) // 8 * bit_rate // rate_hz + padding
