"""Clips in forms that libsndfile can't read (m4a, aac, webm, wma, amr), decoded by PyAV where it is installed.

FFmpeg behind it reads hundreds of forms, and some of them open other files. So what a clip is, its first bytes say to
us, FFmpeg is told, and only codecs of speech and music are let in. Samples come in blocks; how many may come is for
`clip` to say, which stops asking.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from utils.audio.mpeg import id3v2_length
from utils.audio.rejected import AudioRejected
from utils.rows.printable import shown
from utils.rows.schema import RejectReason

HOW_TO_INSTALL: Final = 'which needs PyAV: pip install "av>=14,<20", then begin anew'

_DEMUXERS: Final = {
    "m4a": "mov,mp4,m4a,3gp,3g2,mj2",
    "aac": "aac",
    "webm": "matroska,webm",
    "wma": "asf",
    "amr": "amr",
}
_CODECS: Final = (
    *("aac", "aac_latm", "alac", "opus", "vorbis", "mp3", "mp3float", "flac", "amrnb", "amrwb"),
    *("wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice", "libopus", "libvorbis"),
)
_PROMISE_TOLERANCE_S: Final = 0.25
"""Containers round, and count what an encoder put in front."""
_MAX_BLOCK_SAMPLES: Final = 1 << 17
_ADTS_HEADER_BYTES: Final = 7


@dataclass(frozen=True, slots=True)
class ForeignHeader:
    """What a clip says of itself."""

    sample_rate_hz: int
    channels: int
    promised_frames: int | None
    """Frames that have to come out at least; None where nobody says."""


def foreign_kind(data: bytes) -> str | None:
    """The usual ending of a clip that libsndfile can't read, by its first bytes; None for all others."""
    body = data[id3v2_length(data) :][:16]
    if body[4:8] == b"ftyp":
        return "m4a"
    if body.startswith(b"\x1aE\xdf\xa3"):
        return "webm"
    if body.startswith(b"0&\xb2u\x8ef\xcf\x11"):
        return "wma"
    if body.startswith(b"#!AMR"):
        return "amr"
    # An MPEG header of layer 0, which MP3 has not.
    return "aac" if len(body) > 1 and body[0] == 0xFF and body[1] & 0xF6 == 0xF0 else None


def foreign_name(kind: str) -> str:
    """What people call such a clip."""
    return {
        "m4a": "M4A or MP4 (AAC)",
        "aac": "AAC (ADTS)",
        "webm": "WebM or Matroska",
        "wma": "WMA",
        "amr": "AMR",
    }[kind]


def is_installed() -> bool:
    """Whether PyAV is there. It is imported with the first clip that needs it."""
    try:
        from av import FFmpegError  # noqa: F401 - of a folder that is only called so there is none
    except ImportError:
        return False
    return True


def read_foreign_header(data: bytes, kind: str) -> ForeignHeader:
    """What a clip promises. Raises AudioRejected where it is broken, or holds no sound that is let in."""
    if kind == "aac":
        _check_last_adts_frame(data)
    with _opened(data, kind) as (container, stream):
        context = stream.codec_context
        duration_s = None
        if kind not in ("aac", "amr"):  # of these FFmpeg guesses it, from the bit rate
            if stream.duration and stream.time_base:
                duration_s = float(stream.duration * stream.time_base)
            elif container.duration:
                duration_s = container.duration / 1_000_000
        rate, channels = int(context.sample_rate or 0), int(context.channels or 0)
        if rate < 1 or channels < 1:
            raise AudioRejected(RejectReason.UNDECODABLE, f"{foreign_name(kind)} without a sample rate or channels")
        promised = None if duration_s is None else max(0, round((duration_s - _PROMISE_TOLERANCE_S) * rate))
        return ForeignHeader(rate, channels, promised)


def foreign_blocks(data: bytes, kind: str, header: ForeignHeader) -> Iterator[NDArray[np.float32]]:
    """The samples (frames, channels) from front to back, so many at a time. AudioRejected where it is broken."""
    waiting: list[NDArray[np.float32]] = []
    frames = 0
    with _opened(data, kind) as (container, stream):
        for frame in container.decode(stream):
            if frame.sample_rate != header.sample_rate_hz or len(frame.layout.channels) != header.channels:
                raise AudioRejected(RejectReason.UNDECODABLE, "its sample rate or its channels change on the way")
            waiting.append(_samples(frame, header.channels))
            frames += len(waiting[-1])
            if frames * header.channels >= _MAX_BLOCK_SAMPLES:
                yield np.concatenate(waiting)
                waiting, frames = [], 0
    if waiting:
        yield np.concatenate(waiting)


@contextmanager
def _opened(data: bytes, kind: str) -> Iterator[tuple[Any, Any]]:
    """(container, its first stream of sound)."""
    import av

    try:
        with av.open(io.BytesIO(data), format=_DEMUXERS[kind].split(",")[0], **_lenient_metadata(av)) as container:
            if not container.streams.audio:
                raise AudioRejected(RejectReason.UNDECODABLE, f"{foreign_name(kind)} without sound")
            stream = container.streams.audio[0]
            if stream.codec_context is None or stream.codec_context.name not in _CODECS:
                codec = shown(stream.codec_context.name) if stream.codec_context else "an unknown codec"
                raise AudioRejected(RejectReason.UNDECODABLE, f"{foreign_name(kind)} with {codec}")
            stream.codec_context.thread_count = 1  # clips are converted side by side already
            yield container, stream
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise MemoryError("FFmpeg: out of memory") from error
        raise AudioRejected(RejectReason.UNDECODABLE, f"{foreign_name(kind)}: FFmpeg: {shown(error)}") from None


def _lenient_metadata(av: ModuleType) -> dict[str, str]:
    """Arguments of `av.open` that let tags in any encoding pass; PyAV 19 and newer do so without being asked."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def _samples(frame: Any, channels: int) -> NDArray[np.float32]:
    """A frame's samples, full scale at 1.0."""
    raw = frame.to_ndarray()
    packed = raw.T if frame.format.is_planar else raw.reshape(-1, channels)
    samples: NDArray[np.float32] = np.ascontiguousarray(packed, np.float32)
    if packed.dtype == np.uint8:
        samples = (samples - 128) / np.float32(128)
    elif packed.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(packed.dtype).min))
    return samples


def _check_last_adts_frame(data: bytes) -> None:
    """AudioRejected where the last frame of a raw AAC file is not all there: FFmpeg passes it over."""
    at = id3v2_length(data)
    while at + _ADTS_HEADER_BYTES <= len(data) and data[at] == 0xFF and data[at + 1] & 0xF6 == 0xF0:
        length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        if length < _ADTS_HEADER_BYTES:
            return
        if at + length > len(data):
            raise AudioRejected(RejectReason.TRUNCATED, "the last AAC frame is cut short")
        at += length
