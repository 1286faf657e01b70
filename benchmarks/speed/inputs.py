"""Made-up mirrors in four shapes, the same bytes every time: what all contenders read.

A few hundred phrases of the synthetic voice are strung together, another sequence for each clip, at another level:
clips of 4 to 8 s (6 on average), no two alike, without synthesizing hours of speech. An MP3 is strung together from
phrases that were encoded one by one: each begins with a frame that needs none before it.

A mirror is made once and kept; a marker is written last, so a half-made one is made again.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from benchmarks.speed.shapes import SHAPES, Shape
from processors import describe
from processors.demo.mirrors import table_bytes, write_table, write_tar_gz
from processors.demo.voice import Samples, SyntheticVoice, mp3_bytes, wav_bytes
from utils.audio.mpeg import readable_in_full, scan_mpeg
from utils.rows.schema import AUDIO_TYPE

VERSION = 1
"""Raise it whenever the inputs change: kept ones are then made again."""

PHRASES = 360
RATE_HZ = 16_000
MP3_RATE_HZ = 48_000
MIN_DURATION_S, MAX_DURATION_S = 3.6, 7.6
PACKING_LEVEL = 4
"""Of gzip. The usual 6 takes three times as long to pack and as long to unpack."""
ROW_GROUP_ROWS = 100
HELD_OUT_EVERY = 50
"""One clip in so many is of the test split, one of the validation split."""


@dataclass(frozen=True)
class SpokenText:
    """Clip number so and so, still to be made into sound."""

    number: int
    phrases: tuple[int, ...]
    gain: float
    sentence: str
    speaker: int
    split: str


def make_mirror(shape: Shape, clips: int, folder: Path) -> Path:
    """The folder for `--source-dir` that holds a mirror of `shape` with so many clips, made unless it is there."""
    place = folder / f"inputs-{shape.name}-{clips}"
    marker = place / "complete.json"
    wanted = json.dumps({"version": VERSION, "clips": clips}) + "\n"
    if marker.is_file() and marker.read_text() == wanted:
        return place
    shutil.rmtree(place, ignore_errors=True)
    mirror = place / describe(shape.source).mirror
    mirror.mkdir(parents=True)
    {"tar-wav": _write_gigaspeech2, "tar-mp3": _write_common_voice}.get(shape.name, _write_parquet)(
        shape, clips, mirror
    )
    marker.write_text(wanted)
    return place


# --- clips -----------------------------------------------------------------------------------


def texts(shape: Shape, clips: int) -> Iterator[SpokenText]:
    """What is said in the clips of a mirror."""
    seed = list(SHAPES).index(shape.name)
    for number in range(clips):
        random = np.random.default_rng([VERSION, seed, number])
        phrases = _sequence(random)
        split = {0: "validation", 1: "test"}.get(number % HELD_OUT_EVERY, "train")
        yield SpokenText(
            number,
            phrases,
            gain=float(10 ** (random.uniform(-12, 6) / 20)),
            sentence=" ".join(_voice_clip(phrase)[1] for phrase in phrases),
            speaker=number % 97,
            split=split,
        )


def _sequence(random: np.random.Generator) -> tuple[int, ...]:
    """Phrases, drawn until they are long enough; a clip's first ones alone tell it from most others."""
    wanted_s = random.uniform(MIN_DURATION_S, MAX_DURATION_S)
    chosen: list[int] = []
    while sum(len(_voice_clip(phrase)[0]) for phrase in chosen) < wanted_s * RATE_HZ:
        chosen.append(int(random.integers(PHRASES)))
    return tuple(chosen)


@cache
def _voice_clip(phrase: int) -> tuple[Samples, str]:
    """Samples at 16 kHz, and the sentence."""
    clip = SyntheticVoice(VERSION).clip(phrase, RATE_HZ)
    return clip.samples, clip.sentence


def _sound(text: SpokenText) -> Samples:
    joined: Samples = np.concatenate([_voice_clip(phrase)[0] for phrase in text.phrases])
    levelled: Samples = np.clip(joined * np.float32(text.gain), -0.99, 0.99)
    return levelled


def _flac_bytes(samples: Samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


# --- MP3 -------------------------------------------------------------------------------------


def _mp3(text: SpokenText) -> bytes:
    """The phrases' frames, behind a header that says how many they are."""
    frames = b"".join(map(_mp3_frames, text.phrases))
    scan = scan_mpeg(frames)
    assert scan is not None and not scan.cut_short
    return readable_in_full(frames, scan, 0)


@cache
def _mp3_frames(phrase: int) -> bytes:
    """A phrase's frames of audio, without the one in front that only says how many they are."""
    samples = SyntheticVoice(VERSION).clip(phrase, MP3_RATE_HZ).samples
    noise = np.random.default_rng([VERSION, phrase]).standard_normal(len(samples), np.float32)
    noisy = samples + np.float32(0.003 * np.max(np.abs(samples))) * noise  # a room sounds above 8 kHz, too
    content = mp3_bytes(noisy, MP3_RATE_HZ)
    scan = scan_mpeg(content)
    assert scan is not None
    return content[scan.first :]


# --- layouts ---------------------------------------------------------------------------------


def _write_gigaspeech2(shape: Shape, clips: int, mirror: Path) -> None:
    """One train archive, and one of each evaluation split; members and tables in the order of the numbers."""
    by_split: dict[str, list[SpokenText]] = {"train": [], "validation": [], "test": []}
    for text in texts(shape, clips):
        by_split[text.split].append(text)
    folder = mirror / "data/th"
    for split, table, archive in (
        ("train", "train_refined", "train/0"),
        ("validation", "dev", "dev"),
        ("test", "test", "test"),
    ):
        members = ((f"0/{_clip_id(text)}.wav", wav_bytes(_sound(text))) for text in by_split[split])
        write_tar_gz(folder / f"{archive}.tar.gz", members, PACKING_LEVEL)
        write_table(folder / f"{table}.tsv", ((_clip_id(text), text.sentence) for text in by_split[split]))


def _clip_id(text: SpokenText) -> str:
    return f"0-{text.number // 100}-{text.number}"


_COLUMNS = ("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "locale", "segment")


def _write_common_voice(shape: Shape, clips: int, mirror: Path) -> None:
    """One archive in the order of its names: the splits' clips mixed, the tables behind them."""
    root = "cv-corpus-25.0-2026-03-09/th"
    spoken = list(texts(shape, clips))
    durations = [(_mp3_name(text), str(round(1000 * _mp3_seconds(text)))) for text in spoken]
    tables = {
        name: table_bytes([_COLUMNS, *(_row(text) for text in spoken if text.split == split)])
        for name, split in (("dev", "validation"), ("test", "test"), ("train", "train"))
    }

    def members() -> Iterator[tuple[str, bytes]]:
        yield f"{root}/clip_durations.tsv", table_bytes([("clip", "duration[ms]"), *durations])
        for text in spoken:
            yield f"{root}/clips/{_mp3_name(text)}", _mp3(text)
        for name, content in tables.items():
            yield f"{root}/{name}.tsv", content

    write_tar_gz(mirror / "cv-corpus-25.0-2026-03-09-th.tar.gz", members(), PACKING_LEVEL)


def _mp3_name(text: SpokenText) -> str:
    return f"common_voice_th_{23_000_000 + text.number}.mp3"


def _mp3_seconds(text: SpokenText) -> float:
    scan = scan_mpeg(_mp3(text))
    assert scan is not None
    return scan.samples / MP3_RATE_HZ


def _row(text: SpokenText) -> tuple[str, ...]:
    speaker = hashlib.sha512(f"{text.split}/{text.speaker}".encode()).hexdigest()
    return (speaker, _mp3_name(text), text.sentence, "2", "0", "twenties", "", "", "th", "")


def _write_parquet(shape: Shape, clips: int, mirror: Path) -> None:
    """A file a split, written as `datasets` did for years: all columns snappy, row groups of 100."""
    ending, encode = ("flac", _flac_bytes) if shape.name == "parquet-flac" else ("wav", wav_bytes)
    features = {"audio": {"_type": "Audio"}, "sentence": {"dtype": "string", "_type": "Value"}}
    schema = pa.schema(
        [("audio", AUDIO_TYPE), ("sentence", pa.string())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    (mirror / "data").mkdir()
    writers = {
        split: pq.ParquetWriter(mirror / f"data/{name}-00000-of-00001.parquet", schema)
        for split, name in (("train", "train"), ("validation", "dev"), ("test", "test"))
    }
    waiting: dict[str, list[dict[str, object]]] = {split: [] for split in writers}

    def write(split: str) -> None:
        writers[split].write_table(pa.Table.from_pylist(waiting[split], schema=schema))
        waiting[split].clear()

    for text in texts(shape, clips):
        path = f"common_voice_th_{25_000_000 + text.number}.{ending}"
        rows = waiting[text.split]
        rows.append({"audio": {"bytes": encode(_sound(text)), "path": path}, "sentence": text.sentence})
        if len(rows) == ROW_GROUP_ROWS:
            write(text.split)
    for split, writer in writers.items():
        if waiting[split]:
            write(split)
        writer.close()
