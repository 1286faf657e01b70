"""A clip of any format, opened and decoded: what it is, and its samples in blocks.

libsndfile decodes what is left of a cut file without a word, so everybody who says how long the clip should be is
asked: its container, its frames, its header and the source's table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

import numpy as np
import soundfile
from numpy.typing import NDArray

from utils.audio.buffers import kept_samples, pass_through
from utils.audio.containers import checked_container, describe_foreign, is_known_format
from utils.audio.ffmpeg import (
    HOW_TO_INSTALL,
    ForeignHeader,
    foreign_blocks,
    foreign_kind,
    foreign_name,
    is_installed,
    read_foreign_header,
)
from utils.audio.memory_file import MemoryFile, SequentialFile
from utils.audio.mpeg import find_first_frame, readable_in_full, scan_mpeg
from utils.audio.rejected import AudioRejected
from utils.audio.wav import PlainWav, read_plain_wav
from utils.rows.schema import RejectReason

MIN_DURATION_S: Final = 0.1
MAX_DURATION_S: Final = 3600.0

TABLE_TOLERANCE_S: Final = 0.25
TABLE_TOLERANCE: Final = 0.02
"""A clip may be shorter than its table says by the larger of the two: MP3 encoders and decoders disagree by up to
three frames (216 ms at 8 kHz), tables round to tenths of a second or estimate from the bit rate. A cut in the
container itself is found exactly, without the table."""

MPEG_TRIMMED_FRAMES: Final = 4
"""Encoder delay and padding that mpg123 takes off an MP3, at most."""

MAX_SAMPLES: Final = 3600 * 48_000
"""Of all channels together that are decoded of a clip: an hour of 48 kHz, half an hour in stereo. A minute of
192 kHz in eight channels takes as long, and 100 KB of FLAC may hold hours of it. It bounds the time that a clip
takes, to about 6 s of a processor."""
MAX_OPUS_SAMPLES: Final = MAX_SAMPLES // 5
"""Twelve minutes: Opus takes up to five times as long to decode, and so may what FFmpeg does."""
MAX_CHANNELS: Final = 32
MAX_MENDED_BYTES: Final = 64 * 1000**2
"""A mended clip is held twice."""

SOURCE_RATES_HZ: Final = range(1_000, 1_000_001)
BLOCK_SAMPLES: Final = 1 << 17
"""Samples (of all channels) decoded at a time: 0.5 MB of float32, 2.7 s of 48 kHz mono."""

_SLOW_TO_DECODE: Final = ("opus", "m4a", "aac", "webm", "wma", "amr")
_UNKNOWN_FRAMES: Final = 1 << 62
_OUT_OF_MEMORY: Final = "Internal malloc () failed."
_ENDINGS: Final = {
    "WAV": "wav",
    "WAVEX": "wav",
    "RF64": "wav",
    "W64": "w64",
    "AIFF": "aiff",
    "AU": "au",
    "CAF": "caf",
    "FLAC": "flac",
    "OGG": "ogg",
    "MP3": "mp3",
    "NIST": "sph",
}
"""The formats that we accept. libsndfile knows others by so little magic that it takes chance bytes for them."""

Samples: TypeAlias = NDArray[np.float32]
Decoded: TypeAlias = NDArray[np.float32] | NDArray[np.int16]
"""Samples as they come: of 16 bit as integers, which is quicker and takes half the memory. See `as_floats`."""
FULL_SCALE_INT16: Final = 32768


class OpenedFile:
    """A clip's bytes, opened by libsndfile at their start; close it."""

    def __init__(self, content: bytes) -> None:
        """Raises LibsndfileError where it knows no such format."""
        self._file = MemoryFile(content)
        try:
            self.sound = SequentialFile(self._file.handle, closefd=False)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sound.close()
        self._file.close()

    def position(self) -> int:
        """How far the bytes have been read."""
        return self._file.position()


@dataclass(slots=True)
class Clip:
    """A clip that libsndfile can open, and what was promised of its length. Use as a context manager."""

    content: bytes
    """What libsndfile is given: the source's bytes, or a form of them that it reads to the end."""
    opened: OpenedFile | None
    """For the first pass over its samples: opening takes as long as decoding a short WAV."""
    is_mended: bool
    """The source's own bytes can't be read as they are."""
    extension: str
    sample_rate_hz: int
    channels: int
    is_16_bit: bool
    promised_frames: int | None
    """Frames (a sample of every channel) that have to come out, None where nobody says."""
    declared_duration_s: float | None
    """What the source's table says."""
    foreign: ForeignHeader | None = None
    """Of a clip that libsndfile can't read, and PyAV does."""
    plain: NDArray[np.int16] | None = None
    """The samples, (frames, channels), of a clip that needs no decoder."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.opened is not None:
            self.opened.close()

    def take_opened(self) -> OpenedFile:
        """At its start; the caller's to close."""
        opened, self.opened = self.opened, None
        return opened or OpenedFile(self.content)


def identify(data: bytes, declared_duration_s: float | None) -> Clip:
    """Open the clip once to learn what it is. Refuses what is broken or too long before anything is decoded."""
    if not data:
        raise AudioRejected(RejectReason.EMPTY, "the file has no bytes")
    if plain := read_plain_wav(data):
        return _plain(data, plain, declared_duration_s)
    if kind := foreign_kind(data):
        return _foreign(data, kind, declared_duration_s)
    content = checked_container(data)
    if content is not data and len(data) > MAX_MENDED_BYTES:
        detail = f"its header is wrong, and over {MAX_MENDED_BYTES:,} bytes that is not mended"
        raise AudioRejected(RejectReason.UNDECODABLE, detail)
    problem = "no format that libsndfile is asked to read"
    if is_known_format(data):
        try:
            return _opened(content, content is not data, declared_duration_s)
        except soundfile.LibsndfileError as error:
            problem = _message(error)
    content = _behind_junk(data, problem)
    try:
        return _opened(content, True, declared_duration_s)
    except soundfile.LibsndfileError as error:
        raise AudioRejected(RejectReason.UNDECODABLE, _message(error)) from None


def _plain(data: bytes, wav: PlainWav, declared_duration_s: float | None) -> Clip:
    (frames, channels), rate = wav.samples.shape, wav.sample_rate_hz
    _check_is_speech("WAV", rate, channels)
    _check_not_too_long(frames, rate, channels, "wav", by=" by its header")
    return Clip(
        content=data,
        opened=None,
        is_mended=False,
        extension="wav",
        sample_rate_hz=rate,
        channels=channels,
        is_16_bit=True,
        promised_frames=frames,
        declared_duration_s=declared_duration_s,
        plain=wav.samples,
    )


def _check_is_speech(kind: str, rate_hz: int, channels: int) -> None:
    if rate_hz not in SOURCE_RATES_HZ or channels > MAX_CHANNELS:
        detail = f"no format of speech: {kind} at {rate_hz} Hz, {channels} channels"
        raise AudioRejected(RejectReason.UNDECODABLE, detail)


def _foreign(data: bytes, kind: str, declared_duration_s: float | None) -> Clip:
    if not is_installed():
        raise AudioRejected(RejectReason.UNDECODABLE, f"{foreign_name(kind)}, {HOW_TO_INSTALL}")
    header = read_foreign_header(data, kind)
    rate, channels = header.sample_rate_hz, header.channels
    _check_is_speech(kind, rate, channels)
    if header.promised_frames is not None:
        _check_not_too_long(header.promised_frames, rate, channels, kind, by=" by its header")
    return Clip(
        content=data,
        opened=None,
        is_mended=False,
        extension=kind,
        sample_rate_hz=rate,
        channels=channels,
        is_16_bit=False,
        promised_frames=header.promised_frames,
        declared_duration_s=declared_duration_s,
        foreign=header,
    )


def blocks(clip: Clip) -> Iterator[Decoded]:
    """The clip's samples, (frames, channels), from front to back. They are good until the thread's next clip, and may
    be NaN or infinite where they are floats: that shows in their energy, which is measured in any case.

    The clip is known to be whole and of a good length only when the last block has been taken: all
    refusals for its length are raised here, after it.
    """
    decoded = 0
    for block in _decoded_blocks(clip):
        decoded += len(block)
        _check_not_too_long(decoded, clip.sample_rate_hz, clip.channels, clip.extension)
        yield block
    _check_length(clip, decoded)


def _check_not_too_long(frames: int, rate_hz: int, channels: int, extension: str, by: str = "") -> None:
    if frames > MAX_DURATION_S * rate_hz:
        detail = f"{frames / rate_hz:.1f} s{by}" if by else f"longer than {MAX_DURATION_S:.0f} s"
        raise AudioRejected(RejectReason.TOO_LONG, detail)
    most = MAX_OPUS_SAMPLES if extension in _SLOW_TO_DECODE else MAX_SAMPLES
    if frames * channels > most:
        detail = f"{channels} channels at {rate_hz} Hz{by}: over {most:,} samples are not decoded"
        raise AudioRejected(RejectReason.TOO_LONG, detail)


def _behind_junk(data: bytes, problem: str) -> bytes:
    """An MP3 without what stands in front of it; refuses everything else that libsndfile could not open."""
    if foreign := describe_foreign(data):
        raise AudioRejected(RejectReason.UNDECODABLE, foreign)
    first_frame = find_first_frame(data, chain=3)
    if not first_frame:
        raise AudioRejected(RejectReason.UNDECODABLE, problem)
    return data[first_frame:]


def _opened(content: bytes, is_mended: bool, declared_duration_s: float | None) -> Clip:
    opened = OpenedFile(content)
    try:
        kind, frames = opened.sound.format, opened.sound.frames
        promised_frames = None if frames >= _UNKNOWN_FRAMES else frames
        if kind == "MP3":
            complete, promised_frames = _checked_mpeg(content, frames)
            if complete is not content:
                opened.close()
                content, opened = complete, OpenedFile(complete)
        return _described(content, opened, kind, is_mended, promised_frames, declared_duration_s)
    except BaseException:
        opened.close()
        raise


def _described(
    content: bytes,
    opened: OpenedFile,
    kind: str,
    is_mended: bool,
    promised_frames: int | None,
    declared_duration_s: float | None,
) -> Clip:
    subtype, rate, channels = opened.sound.subtype, opened.sound.samplerate, opened.sound.channels  # asked for once
    extension = _ENDINGS.get(kind)
    if extension is None:
        detail = f"no format of speech: {kind} at {rate} Hz, {channels} channels"
        raise AudioRejected(RejectReason.UNDECODABLE, detail)
    extension = "opus" if subtype == "OPUS" else extension
    _check_is_speech(kind, rate, channels)
    if promised_frames is not None:
        _check_not_too_long(promised_frames, rate, channels, extension, by=" by its header")
    return Clip(
        content=content,
        opened=opened,
        is_mended=is_mended,
        extension=extension,
        sample_rate_hz=rate,
        channels=channels,
        is_16_bit=subtype == "PCM_16",
        promised_frames=promised_frames,
        declared_duration_s=declared_duration_s,
    )


def _checked_mpeg(content: bytes, reader_frames: int) -> tuple[bytes, int | None]:
    """(a form that is read to its end, the samples of a channel that have to come out at least)."""
    scan = scan_mpeg(content)
    if scan is None:
        return content, None
    if scan.cut_short:
        raise AudioRejected(RejectReason.TRUNCATED, f"the last of {scan.frames} MPEG frames is cut short")
    if scan.promised_frames and scan.frames + 1 < scan.promised_frames:
        detail = f"{scan.frames} of {scan.promised_frames} MPEG frames are there"
        raise AudioRejected(RejectReason.TRUNCATED, detail)
    least_samples = max(0, scan.frames - MPEG_TRIMMED_FRAMES) * scan.samples_per_frame
    return readable_in_full(content, scan, reader_frames), least_samples


def as_floats(block: Decoded) -> Samples:
    """Samples with full scale at 1.0, whatever they were decoded as; good until the next block's."""
    if block.dtype != np.int16:
        return block  # type: ignore[return-value]
    room = pass_through(block.size, np.float32, "floats").reshape(block.shape)
    floats: Samples = np.multiply(block, np.float32(1 / FULL_SCALE_INT16), out=room)
    return floats


def _decoded_blocks(clip: Clip) -> Iterator[Decoded]:
    """Whatever the decoder gives. 16-bit samples are read as integers: three times as fast, and the same numbers."""
    block_frames = max(1, BLOCK_SAMPLES // clip.channels)
    if clip.plain is not None:
        for first in range(0, len(clip.plain), block_frames):
            yield clip.plain[first : first + block_frames]
        return
    if clip.foreign is not None:
        yield from foreign_blocks(clip.content, clip.extension, clip.foreign)
        return
    with clip.take_opened() as opened:
        sound = opened.sound
        left = sound.frames  # asking for more than that is an error to some decoders
        while left > 0:
            count = min(left, block_frames)
            size = count * clip.channels
            room = kept_samples((size + 1) // 2).view(np.int16)[:size] if clip.is_16_bit else kept_samples(size)
            try:
                read = sound.buffer_read_into(room, "int16" if clip.is_16_bit else "float32")
            except soundfile.LibsndfileError as error:
                at_end = opened.position() >= len(clip.content)
                reason = RejectReason.TRUNCATED if at_end else RejectReason.UNDECODABLE
                raise AudioRejected(reason, _message(error)) from None
            if not read:
                return
            left -= read
            yield room.reshape(count, clip.channels)[:read]


def _check_length(clip: Clip, decoded: int) -> None:
    if not decoded:
        raise AudioRejected(RejectReason.EMPTY, "it has no samples")
    duration_s = decoded / clip.sample_rate_hz
    if clip.promised_frames is not None and decoded < clip.promised_frames:
        promised_s = clip.promised_frames / clip.sample_rate_hz
        raise AudioRejected(RejectReason.TRUNCATED, f"{duration_s:.3f} s of {promised_s:.3f} s could be decoded")
    declared_s = clip.declared_duration_s
    if declared_s and declared_s - duration_s > max(TABLE_TOLERANCE_S, TABLE_TOLERANCE * declared_s):
        raise AudioRejected(RejectReason.TRUNCATED, f"{duration_s:.3f} s, but {declared_s:.3f} s by its table")
    if duration_s < MIN_DURATION_S:
        raise AudioRejected(RejectReason.TOO_SHORT, f"{duration_s:.3f} s")


def _message(error: soundfile.LibsndfileError) -> str:
    """libsndfile's own words, without the file descriptor's number that soundfile puts in front.

    MemoryError where they say that there was none left: nothing is known of the clip then.
    """
    if error.error_string == _OUT_OF_MEMORY:
        raise MemoryError("libsndfile: out of memory")
    return f"libsndfile: {error.error_string.removeprefix('Error : ').rstrip('.')}"
