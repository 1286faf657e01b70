"""The limit: the same clips through bare loops over the C-level calls, in one thread, and nothing else.

    python -m benchmarks.speed.limit SHAPE MIRROR OUT FORMAT [--stages]

Reading (gunzip and tar, or Parquet), decoding, resampling, the gain, encoding, one sha256 and one xxh3 of each clip,
the transcript joined to it, two Parquet writes (staging and shard). No checks, no positions, no checkpoints, no
normal form of transcripts, no second look at a file. Buffers are made once, sound passes through a file in memory,
encoded clips are written where Arrow will find them. What comes out are the samples, hashes and lengths that we
publish. It prints JSON: the clips, and with `--stages` the CPU seconds that each stage took.
"""

import hashlib
import json
import math
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import soxr
import xxhash

from benchmarks.speed import unpacking
from benchmarks.speed.shapes import GIGASPEECH2, SHAPES, Shape
from processors import describe
from utils.audio.memory_file import FLAC_LEVEL
from utils.audio.standardize import MAX_GAIN_DB, MAX_PEAK
from utils.rows.schema import AUDIO_TYPE, published_schema
from utils.upload.shard_writer import shard_options

RATE_HZ = 16_000
TARGET_DBFS = -20.0
GROUP_ROWS = 100
MAX_LENGTH_SAMPLES = 20 * 48_000
TABLES = {"train": "train_refined", "validation": "dev", "test": "test"}

_READ, _WRITE = 0x10, 0x20
_FLAC_PCM_16 = 0x170000 | 0x0002
_SET_COMPRESSION_LEVEL = 0x1301
_PCM_16 = 0x0002

Lap = Callable[[str], None]


RawClip = tuple[str, str, Any, str | None]
"""Split, key, encoded bytes, transcript (None: its table lies behind the clips)."""


def main() -> None:
    name, mirror, out, audio_format, *rest = sys.argv[1:]
    shape, folder = SHAPES[name], Path(out)
    source = Path(mirror) / describe(shape.source).mirror
    clips = run(shape, source, folder, audio_format, _no_lap)
    stages = Stages()
    if rest == ["--stages"]:  # once more, now that all libraries are warm
        run(shape, source, folder, audio_format, stages.lap)
    print(json.dumps({"clips": clips, "stages_s": stages.seconds}))


class Stages:
    """CPU time of this thread, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.thread_time()

    def lap(self, stage: str) -> None:
        """All since the last call was this stage's."""
        now = time.thread_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _no_lap(stage: str) -> None:
    """Nothing is measured."""


def run(shape: Shape, mirror: Path, out: Path, audio_format: str, lap: Lap) -> int:
    """Carry all clips of a mirror into one staging file and one shard; returns how many they are."""
    out.mkdir(parents=True, exist_ok=True)
    group, writers = Group(), Writers(shape.source, out, audio_format)
    clips = 0
    with closing(Standardizer(audio_format, lap)) as standardize:
        for split, key, content, transcript in read(shape, mirror, writers.tables):
            lap("read")
            group.add(split, key, transcript, standardize(content, group))
            clips += 1
            if group.rows == GROUP_ROWS:
                writers.write(group, lap)
    lap("read")
    writers.write(group, lap)
    writers.close(lap)
    return clips


# --- reading ---------------------------------------------------------------------------------


def read(shape: Shape, mirror: Path, tables: dict[str, str]) -> Iterator[RawClip]:
    """The clips of a mirror. Where the tables lie behind them they have come into `tables` in the end."""
    if shape.name == "tar-mp3":
        return _common_voice(next(mirror.glob("*.tar.gz")), tables)
    if shape.source == GIGASPEECH2:
        return _gigaspeech2(mirror / "data/th")
    return _parquet(mirror / "data")


def _gigaspeech2(folder: Path) -> Iterator[RawClip]:
    for split, table in TABLES.items():
        lines = (folder / f"{table}.tsv").read_text(encoding="utf-8").splitlines()
        transcripts = dict(line.split("\t", 1) for line in lines)
        archive = folder / ("train/0.tar.gz" if split == "train" else f"{table}.tar.gz")
        for name, content in unpacking.members(archive):
            key = name[name.rindex("/") + 1 : -4]
            yield split, key, content, transcripts[key]


def _common_voice(archive: Path, tables: dict[str, str]) -> Iterator[RawClip]:
    splits = {"train.tsv": "train", "dev.tsv": "validation", "test.tsv": "test"}
    for path, content in unpacking.members(archive):
        name = path[path.rindex("/") + 1 :]
        if name.endswith(".mp3"):
            yield "", name[:-4], content, None
        elif name in splits:
            for line in bytes(content).decode().splitlines()[1:]:
                _, clip, sentence, _ = line.split("\t", 3)
                tables[clip[:-4]] = f"{splits[name]}\t{sentence}"


def _parquet(folder: Path) -> Iterator[RawClip]:
    for split, file_name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        with pq.ParquetFile(folder / f"{file_name}-00000-of-00001.parquet", memory_map=True, pre_buffer=False) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, use_threads=False).combine_chunks()
                audio = table["audio"].chunk(0)
                encoded, paths = audio.field("bytes"), audio.field("path").to_pylist()
                _, offsets, content = encoded.buffers()
                ends = np.frombuffer(offsets, np.int32)[encoded.offset :].tolist()
                whole = memoryview(content)
                for row, sentence in enumerate(table["sentence"].to_pylist()):
                    yield split, paths[row].rpartition(".")[0], whole[ends[row] : ends[row + 1]], sentence


# --- sound -----------------------------------------------------------------------------------


class Group:
    """A hundred clips on their way into Parquet, their audio in one buffer that is used again."""

    def __init__(self) -> None:
        self.audio = np.empty(32 * 1000**2, np.uint8)
        self.ends = np.zeros(GROUP_ROWS + 1, np.int32)
        self.clear()

    def clear(self) -> None:
        self.rows = 0
        self.columns: dict[str, list[Any]] = {
            name: [] for name in ("split", "key", "transcript", "length", "audio_hash", "sha256")
        }

    def room(self, size: int) -> Any:
        """Where the next clip of up to `size` bytes may be written."""
        begin = int(self.ends[self.rows])
        if begin + size > len(self.audio):
            self.audio = np.concatenate([self.audio, np.empty(size + len(self.audio), np.uint8)])
        return self.audio[begin : begin + size]

    def add(self, split: str, key: str, transcript: str | None, sound: tuple[int, float, str, str]) -> None:
        """Take a clip whose bytes were written to `room`: its size, duration, hash and sha256."""
        size, *others = sound
        for values, value in zip(self.columns.values(), (split, key, transcript, *others), strict=True):
            values.append(value)
        self.ends[self.rows + 1] = self.ends[self.rows] + size
        self.rows += 1

    def encoded(self) -> pa.Array:
        """The audio as an Arrow column, without a copy."""
        ends = pa.py_buffer(self.ends[: self.rows + 1])
        return pa.BinaryArray.from_buffers(pa.binary(), self.rows, [None, ends, pa.py_buffer(self.audio)])


class Standardizer:
    """Encoded bytes -> standard audio, by libsndfile's and soxr's C functions."""

    def __init__(self, audio_format: str, lap: Lap) -> None:
        self._lap = lap
        self._encode = self._flac if audio_format == "flac" else self._wav
        self._snd, self._ffi = soundfile._snd, soundfile._ffi
        self._info = self._ffi.new("SF_INFO*")
        self._file = os.memfd_create("clip")
        self._encoded = os.memfd_create("encoded")
        self._int16 = np.empty(MAX_LENGTH_SAMPLES, np.int16)
        self._decoded = np.empty(MAX_LENGTH_SAMPLES, np.float32)
        self._scaled = np.empty(MAX_LENGTH_SAMPLES, np.float32)
        self._wide = np.empty(MAX_LENGTH_SAMPLES, np.float64)
        self._shorts = self._ffi.cast("short*", self._int16.ctypes.data)
        self._floats = self._ffi.cast("float*", self._decoded.ctypes.data)
        self._level = self._ffi.new("double*", FLAC_LEVEL)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._encoded)

    def __call__(self, content: Any, group: Group) -> tuple[int, float, str, str]:
        """Write the clip into the group's room; returns its size in bytes, duration, xxh3-128 and sha256."""
        lap = self._lap
        samples, rate_hz, unit = self._decode(content)
        lap("decode")
        if rate_hz != RATE_HZ:
            samples = soxr.resample(samples, rate_hz, RATE_HZ, "HQ")
            lap("resample")
        count = len(samples)
        scaled = self._scaled[:count]
        np.multiply(samples, self._gain(samples, unit), out=scaled)
        np.rint(scaled, out=scaled)
        lap("gain")
        room = group.room(44 + 2 * count + 8192)
        size, pcm = self._encode(scaled, room)
        lap("encode")
        audio_hash = xxhash.xxh3_128_hexdigest(pcm)
        sha256 = hashlib.sha256(room[:size]).hexdigest()
        lap("hashes")
        return size, count / RATE_HZ, audio_hash, sha256

    def _decode(self, content: Any) -> tuple[Any, int, float]:
        """The samples of a mono clip, their rate, and what is one unit of them: integers where the clip has 16 bit."""
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))
        os.lseek(self._file, 0, os.SEEK_SET)
        info = self._info
        info.format = 0
        sound = self._snd.sf_open_fd(self._file, _READ, info, 0)
        assert info.channels == 1 and info.frames <= MAX_LENGTH_SAMPLES, "not a clip of this benchmark"
        is_16_bit = info.format & 0xFFFF == _PCM_16
        if is_16_bit:
            count = self._snd.sf_readf_short(sound, self._shorts, info.frames)
        else:
            count = self._snd.sf_readf_float(sound, self._floats, info.frames)
        self._snd.sf_close(sound)
        samples = (self._int16 if is_16_bit else self._decoded)[:count]
        return samples, info.samplerate, 1 / 32768 if is_16_bit else 1.0

    def _gain(self, samples: Any, unit: float) -> np.float32:
        """What a sample is multiplied with: the gain of `utils/audio/standardize.py`, times 32768 for full scale."""
        wide = self._wide[: len(samples)]
        np.copyto(wide, samples)
        rms = math.sqrt(float(wide @ wide) / len(samples)) * unit
        peak = max(float(samples.max()), -float(samples.min())) * unit
        gain_db = min(TARGET_DBFS - 20 * math.log10(rms), 20 * math.log10(MAX_PEAK / peak), MAX_GAIN_DB)
        return np.float32(32768 * float(10 ** (round(gain_db, 4) / 20))) * np.float32(unit)

    def _wav(self, scaled: Any, room: Any) -> tuple[int, Any]:
        size = 2 * len(scaled)
        room[:44] = np.frombuffer(_WAV_HEADER.pack(*_wav_fields(size)), np.uint8)
        pcm = room[44 : 44 + size].view("<i2")
        np.copyto(pcm, scaled, casting="unsafe")
        return 44 + size, pcm

    def _flac(self, scaled: Any, room: Any) -> tuple[int, Any]:
        pcm = self._int16[: len(scaled)]
        np.copyto(pcm, scaled, casting="unsafe")
        os.ftruncate(self._encoded, 0)
        os.lseek(self._encoded, 0, os.SEEK_SET)
        info = self._info
        info.samplerate, info.channels, info.format = RATE_HZ, 1, _FLAC_PCM_16
        sound = self._snd.sf_open_fd(self._encoded, _WRITE, info, 0)
        self._snd.sf_command(sound, _SET_COMPRESSION_LEVEL, self._level, 8)
        self._snd.sf_writef_short(sound, self._shorts, len(pcm))
        self._snd.sf_close(sound)
        return os.preadv(self._encoded, [room], 0), pcm


_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


def _wav_fields(size: int) -> tuple[Any, ...]:
    return (b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16, b"data", size)


# --- Parquet ---------------------------------------------------------------------------------


class Writers:
    """The staging file and the shard."""

    def __init__(self, source: str, out: Path, audio_format: str) -> None:
        self.tables: dict[str, str] = {}
        """Key -> split and transcript, of clips whose tables lie behind them."""
        self._source, self._ending = source, audio_format
        self._next_id = 1
        self._staging_path = out / "staging.parquet"
        self._staged = pa.schema(
            [("audio", AUDIO_TYPE), ("split", pa.string()), ("key", pa.string()), ("transcript", pa.string())]
            + [("length", pa.float64()), ("audio_hash", pa.string()), ("sha256", pa.string())]
        )
        self._staging = pq.ParquetWriter(
            self._staging_path, self._staged, compression="none", use_dictionary=False, write_statistics=False
        )
        self._schema = published_schema(RATE_HZ)
        self._shard = pq.ParquetWriter(out / "shard.parquet", self._schema, **shard_options(self._schema))
        self._is_joined_later = False

    def write(self, group: Group, lap: Lap) -> None:
        """Stage a group, write it to the shard unless its transcripts are still to come, and clear it."""
        if not group.rows:
            return
        encoded = group.encoded()
        columns = group.columns
        paths = pa.array([f"clip.{self._ending}"] * group.rows)
        audio = pa.StructArray.from_arrays([encoded, paths], fields=list(AUDIO_TYPE))
        self._staging.write_batch(
            pa.RecordBatch.from_arrays(
                [audio, *(pa.array(columns[name], self._staged.field(name).type) for name in self._staged.names[1:])],
                schema=self._staged,
            )
        )
        lap("write staging")
        if columns["transcript"][0] is None:
            self._is_joined_later = True
        else:
            self._publish(encoded, columns)
            lap("write shard")
        group.clear()

    def close(self, lap: Lap) -> None:
        """Join what could not be joined before, and finish both files."""
        self._staging.close()
        if self._is_joined_later:
            with pq.ParquetFile(self._staging_path, memory_map=True, pre_buffer=False) as file:
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number, use_threads=False).combine_chunks()
                    lap("read staging again")
                    columns = {name: table[name].to_pylist() for name in ("key", "length", "audio_hash")}
                    told = [self.tables[key].split("\t", 1) for key in columns["key"]]
                    columns["split"], columns["transcript"] = map(list, zip(*told, strict=True))
                    self._publish(table["audio"].chunk(0).field("bytes"), columns)
                    lap("write shard")
        self._shard.close()
        lap("write shard")

    def _publish(self, encoded: pa.Array, columns: dict[str, list[Any]]) -> None:
        rows = len(encoded)
        ids = [f"S{number}" for number in range(self._next_id, self._next_id + rows)]
        self._next_id += rows
        source_ids = [
            f"{self._source}/{split}/{key}" for split, key in zip(columns["split"], columns["key"], strict=True)
        ]
        paths = pa.array([f"{name}.{self._ending}" for name in ids])
        transcripts = pa.array(columns["transcript"])
        nothing = pa.nulls(rows, pa.string())
        values = {
            "ID": pa.array(ids),
            "source_id": pa.array(source_ids),
            "dataset_name": pa.array([self._source] * rows),
            "speaker_id": nothing,
            "Language": pa.array(["th"] * rows),
            "audio": pa.StructArray.from_arrays([encoded, paths], fields=list(AUDIO_TYPE)),
            "transcript": transcripts,
            "transcript_raw": transcripts,
            "length": pa.array(columns["length"]),
            "confidence_score": pa.array([1.0] * rows, pa.float32()),
            "audio_hash": pa.array(columns["audio_hash"]),
            "source_metadata": nothing,
        }
        self._shard.write_batch(
            pa.RecordBatch.from_arrays([values[name] for name in self._schema.names], schema=self._schema)
        )


if __name__ == "__main__":
    main()
