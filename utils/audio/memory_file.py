"""Sound files in memory: how libsndfile reads and writes them best, and the two formats that we write."""

import os
import struct
import threading
from collections.abc import Iterable
from io import BytesIO
from typing import Any, Final, Self, TypeAlias

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

FLAC_LEVEL: Final = 0.0
"""Of 0-1. For speech at 16 kHz the usual 0.625 saves 2% of the bytes and costs 15% more time, 1.0 saves 4%
and doubles it."""

SHARED_ABOVE_BYTES: Final = 16 << 20
_MAX_FREE_FILES: Final = 2
"""One that is read and one that is written."""

Pcm: TypeAlias = NDArray[np.int16]


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read or written once, from front to back.

    soundfile seeks to where it already is after each read. mpg123 takes a seek as a reason to start anew, without
    the bits that it had kept from earlier frames: cracks of up to a third of full scale between blocks.
    """

    def seekable(self) -> bool:
        return False


class MemoryFile:
    """A file in memory for libsndfile: a file descriptor where the system has anonymous files.

    Through a descriptor libsndfile reads by itself; through a Python object it calls back some hundred times a clip,
    which keeps other threads waiting. But the object needs no copy: a very long clip is not held twice.
    """

    def __init__(self, content: bytes = b"", expected_bytes: int = 0) -> None:
        """`expected_bytes`: how much is going to be written, about."""
        self.handle: int | BytesIO
        self._anonymous: _AnonymousFile | None = None
        if max(len(content), expected_bytes) > SHARED_ABOVE_BYTES or not hasattr(os, "memfd_create"):
            self.handle = BytesIO(content)
            return
        self._anonymous = _free.files.pop() if _free.files else _AnonymousFile()
        self.handle = self._anonymous.descriptor
        self._anonymous.hold(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back, once."""
        self.handle = BytesIO()
        used, self._anonymous = self._anonymous, None
        if used is not None and len(_free.files) < _MAX_FREE_FILES:
            _free.files.append(used)

    def position(self) -> int:
        """How far the file has been read."""
        if isinstance(self.handle, int):
            return os.lseek(self.handle, 0, os.SEEK_CUR)
        return self.handle.tell()

    def content(self) -> bytes:
        if isinstance(self.handle, int):
            return os.pread(self.handle, os.fstat(self.handle).st_size, 0)
        return self.handle.getvalue()


class _AnonymousFile:
    """Closed when nobody has it any more."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("clip")

    def hold(self, content: bytes) -> None:
        """Have this content, read from its start; what it takes the place of leaves it its memory."""
        written = 0
        with memoryview(content) as view:
            while written < len(content):
                written += os.pwrite(self.descriptor, view[written:], written)
        os.ftruncate(self.descriptor, len(content))
        os.lseek(self.descriptor, 0, os.SEEK_SET)

    def __del__(self) -> None:
        os.close(self.descriptor)


class _FreeFiles(threading.local):
    """A thread's files that are not in use: to make one, and to get it memory, takes as long as to open a clip."""

    def __init__(self) -> None:
        self.files: list[_AnonymousFile] = []


_free = _FreeFiles()
# A child would write into the files of its parent.
os.register_at_fork(after_in_child=lambda: _free.files.clear())


def flac_bytes(pcm: Iterable[Pcm], sample_rate_hz: int, frames: int) -> bytes:
    """So many mono 16-bit samples as a FLAC file."""
    with MemoryFile(expected_bytes=2 * frames) as file:
        with SequentialFile(
            file.handle,
            "w",
            samplerate=sample_rate_hz,
            channels=1,
            format="FLAC",
            subtype="PCM_16",
            compression_level=FLAC_LEVEL,
            closefd=False,
        ) as sound:
            for chunk in pcm:
                sound.buffer_write(chunk, "int16")
        return file.content()


def wav_bytes(pcm: Iterable[Pcm], sample_rate_hz: int, frames: int) -> bytes:
    """So many mono 16-bit samples as a WAV file."""
    file = BytesIO(_wav_header(2 * frames, sample_rate_hz, channels=1, bits=16))
    file.seek(0, os.SEEK_END)
    for chunk in pcm:
        file.write(chunk.data)
    return file.getvalue()


def audio_from_array(array: ArrayLike, sample_rate_hz: int) -> bytes:
    """Samples that a source has as numbers, as the bytes of a WAV file.

    Shape (frames,) or (frames, channels). Floats are full scale at 1.0 and are kept as 32-bit floats, also NaN and
    values beyond 1.0; integers are taken as 16 bit where all of them fit, else as 32 bit.
    """
    samples = np.asarray(array)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fiu":
        raise ValueError(f"not an array of samples: {samples.dtype} of shape {samples.shape}")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which is refused when the clip is read
            content = _contiguous(samples, "<f4")
        return _wav_header(content.nbytes, sample_rate_hz, channels, bits=32, is_float=True) + content
    bits = 16 if _fits(samples, 16) else 32
    if not _fits(samples, bits):
        raise ValueError(f"integer samples from {samples.min()} to {samples.max()} are more than 32 bit")
    content = _contiguous(samples, f"<i{bits // 8}")
    return _wav_header(content.nbytes, sample_rate_hz, channels, bits) + content


def _fits(samples: NDArray[np.integer[Any]], bits: int) -> bool:
    limit = 1 << (bits - 1)
    return not samples.size or (int(samples.min()) >= -limit and int(samples.max()) < limit)


def _contiguous(samples: NDArray[Any], dtype: str) -> memoryview:
    return np.ascontiguousarray(samples, dtype).data


def _wav_header(size: int, sample_rate_hz: int, channels: int, bits: int, is_float: bool = False) -> bytes:
    """The header of a WAV file of little-endian samples. (libsndfile's own would hold the time of day for floats.)"""
    frame_bytes = channels * bits // 8
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + size, b"WAVE"),
        *(b"fmt ", 16, 3 if is_float else 1, channels, sample_rate_hz),
        *(sample_rate_hz * frame_bytes, frame_bytes, bits),
        *(b"data", size),
    )
