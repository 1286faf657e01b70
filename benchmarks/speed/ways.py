"""What people use instead, each way written as their documents and most projects write it.

    python -m benchmarks.speed.ways WAY SHAPE MIRROR OUT

All bring the clips of a mirror to 16 kHz and one loudness, with their transcripts, as WAV. An archive is unpacked into
files first, as everybody does. Nobody keeps positions, checks lengths or can go on after a crash; only these costs are
compared. Prints the number of clips as JSON.
"""

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.speed.measuring import HUB_REPO
from benchmarks.speed.shapes import SHAPES, Shape
from processors import describe

RATE_HZ = 16_000
TARGET_DBFS = -20.0


@dataclass(frozen=True)
class Heard:
    """A clip as a script finds it: a file on disk, or bytes from a Parquet file."""

    name: str
    sentence: str
    path: str | None = None
    content: bytes | None = None

    @property
    def audio(self) -> dict[str, Any]:
        """As `datasets` spells it."""
        return {"path": self.path or self.name, "bytes": self.content}


def main() -> None:
    way, name, mirror, out = sys.argv[1:]
    shape, folder = SHAPES[name], Path(out)
    folder.mkdir(parents=True)
    # Else its cache in the user's home would remember what it did the last time.
    os.environ["HF_HOME"] = str(folder / "hf")
    clips = WAYS[way](shape, Path(mirror) / describe(shape.source).mirror, folder)
    print(json.dumps({"clips": clips}))


# --- where the clips come from ---------------------------------------------------------------


def heard(shape: Shape, mirror: Path, out: Path) -> Iterator[Heard]:
    """All clips of a mirror; those of an archive as files below `out`."""
    if shape.name == "tar-mp3":
        return _common_voice(mirror, out / "unpacked")
    if shape.name == "tar-wav":
        return _gigaspeech2(mirror / "data/th", out / "unpacked")
    return _from_parquet(mirror)


def _gigaspeech2(folder: Path, unpacked: Path) -> Iterator[Heard]:
    for archive, table in (("train/0", "train_refined"), ("dev", "dev"), ("test", "test")):
        with tarfile.open(folder / f"{archive}.tar.gz") as tar:
            tar.extractall(unpacked / table, filter="data")
        lines = (folder / f"{table}.tsv").read_text(encoding="utf-8").splitlines()
        transcripts = dict(line.split("\t", 1) for line in lines)
        for path in sorted((unpacked / table).rglob("*.wav")):
            yield Heard(path.stem, transcripts[path.stem], path=str(path))


def _common_voice(folder: Path, unpacked: Path) -> Iterator[Heard]:
    with tarfile.open(next(folder.glob("*.tar.gz"))) as tar:
        tar.extractall(unpacked, filter="data")
    (root,) = unpacked.glob("*/th")
    for table in ("train.tsv", "dev.tsv", "test.tsv"):
        with (root / table).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                path = root / "clips" / row["path"]
                yield Heard(path.stem, row["sentence"], path=str(path))


def _from_parquet(mirror: Path) -> Iterator[Heard]:
    import datasets

    loaded = datasets.load_dataset("parquet", data_files=_parquet_files(mirror), split="train")
    for row in loaded.cast_column("audio", datasets.Audio(decode=False)):
        yield Heard(Path(row["audio"]["path"]).stem, row["sentence"], content=row["audio"]["bytes"])


def _parquet_files(mirror: Path) -> list[str]:
    return sorted(map(str, (mirror / "data").glob("*.parquet")))


def levelled(samples: Any) -> Any:
    """One gain to the target, less where that would clip."""
    rms = np.sqrt(np.mean(samples**2))
    scaled = samples * (10 ** (TARGET_DBFS / 20) / max(float(rms), 1e-9))
    return scaled / max(1.0, float(np.max(np.abs(scaled))))


def wav(samples: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


# --- the ways --------------------------------------------------------------------------------


def with_datasets(shape: Shape, mirror: Path, out: Path) -> int:
    """`datasets` as its guide to audio has it: cast to Audio, map, to_parquet. torchcodec decodes and encodes."""
    mapped = _cast_and_mapped(shape, mirror, out)
    mapped.to_parquet(out / "out.parquet")
    return len(mapped)


def with_push_to_hub(shape: Shape, mirror: Path, out: Path) -> int:
    """The same, pushed to the Hub that the environment names."""
    mapped = _cast_and_mapped(shape, mirror, out)
    mapped.push_to_hub(HUB_REPO)
    return len(mapped)


def _cast_and_mapped(shape: Shape, mirror: Path, out: Path) -> Any:
    import datasets

    def standardized(row: dict[str, Any]) -> dict[str, Any]:
        samples = row["audio"].get_all_samples().data.mean(dim=0).numpy()
        return {"audio": {"array": levelled(samples), "sampling_rate": RATE_HZ}}

    loaded = _loaded(shape, mirror, out).cast_column("audio", datasets.Audio(sampling_rate=RATE_HZ))
    return loaded.map(standardized)


def _loaded(shape: Shape, mirror: Path, out: Path) -> Any:
    import datasets

    if shape.name.startswith("parquet"):
        return datasets.load_dataset("parquet", data_files=_parquet_files(mirror), split="train")
    clips = list(heard(shape, mirror, out))
    return datasets.Dataset.from_dict(
        {"audio": [clip.path for clip in clips], "sentence": [clip.sentence for clip in clips]}
    )


def with_datasets_and_soundfile(shape: Shape, mirror: Path, out: Path) -> int:
    """The same without torch: clips stay encoded in `datasets`, the mapped function decodes and encodes them."""
    import datasets
    import soxr

    def standardized(row: dict[str, Any]) -> dict[str, Any]:
        audio = row["audio"]
        samples, rate_hz = soundfile.read(io.BytesIO(audio["bytes"]) if audio["bytes"] else audio["path"])
        if rate_hz != RATE_HZ:
            samples = soxr.resample(samples, rate_hz, RATE_HZ)
        return {"audio": {"bytes": wav(levelled(samples)), "path": Path(audio["path"]).stem + ".wav"}}

    loaded = _loaded(shape, mirror, out).cast_column("audio", datasets.Audio(decode=False))
    mapped = loaded.map(standardized)
    mapped.to_parquet(out / "out.parquet")
    return len(mapped)


def with_librosa(shape: Shape, mirror: Path, out: Path) -> int:
    """librosa loads each clip, a list holds all of them, `Dataset.from_list` makes the dataset."""
    import datasets
    import librosa

    rows = []
    for clip in heard(shape, mirror, out):
        source: Any = clip.path or io.BytesIO(clip.content or b"")
        samples, _ = librosa.load(source, sr=RATE_HZ)
        audio = {"bytes": wav(levelled(samples)), "path": f"{clip.name}.wav"}
        rows.append({"audio": audio, "sentence": clip.sentence, "length": len(samples) / RATE_HZ})
    made = datasets.Dataset.from_list(rows).cast_column("audio", datasets.Audio(sampling_rate=RATE_HZ, decode=False))
    made.to_parquet(out / "out.parquet")
    return len(rows)


def with_lhotse(shape: Shape, mirror: Path, out: Path) -> int:
    """lhotse's cuts: resample, normalize_loudness (LUFS), exported as Lhotse Shar with WAV."""
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    def cut(clip: Heard) -> Any:
        recording = (
            Recording.from_file(clip.path, recording_id=clip.name)
            if clip.path
            else Recording.from_bytes(clip.content or b"", recording_id=clip.name)
        )
        told = SupervisionSegment(clip.name, clip.name, 0.0, recording.duration, text=clip.sentence)
        whole = MonoCut(clip.name, 0.0, recording.duration, 0, supervisions=[told], recording=recording)
        return whole.resample(RATE_HZ).normalize_loudness(TARGET_DBFS)

    cuts = CutSet.from_cuts(map(cut, heard(shape, mirror, out)))
    (out / "shar").mkdir()
    cuts.to_shar(out / "shar", fields={"recording": "wav"}, shard_size=1000)
    return sum(1 for tar in (out / "shar").glob("recording.*.tar") for _ in _audio_members(tar))


def _audio_members(tar: Path) -> Iterator[str]:
    with tarfile.open(tar) as archive:
        yield from (name for name in archive.getnames() if name.endswith(".wav"))


def with_ffmpeg(shape: Shape, mirror: Path, out: Path) -> int:
    """ffmpeg twice a file: to measure its loudness, and to write it at 16 kHz with the gain. No dataset is made."""
    (out / "wav").mkdir()
    clips = 0
    for clip in heard(shape, mirror, out):
        source = clip.path or str(out / "clip")
        if clip.content is not None:
            Path(source).write_bytes(clip.content)
        said = _ffmpeg("-i", source, "-af", "volumedetect", "-f", "null", "-")
        mean_db = float(said.split("mean_volume:")[1].split()[0])
        made = str(out / "wav" / f"{clip.name}.wav")
        gain = f"volume={TARGET_DBFS - mean_db:.1f}dB"
        _ffmpeg("-y", "-i", source, "-af", gain, "-ar", str(RATE_HZ), "-ac", "1", "-c:a", "pcm_s16le", made)
        clips += 1
    return clips


def _ffmpeg(*arguments: str) -> str:
    command = [os.environ["FFMPEG"], "-hide_banner", "-nostdin", "-threads", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


WAYS: dict[str, Callable[[Shape, Path, Path], int]] = {
    "datasets": with_datasets,
    "datasets-push": with_push_to_hub,
    "datasets-soundfile": with_datasets_and_soundfile,
    "librosa": with_librosa,
    "lhotse": with_lhotse,
    "ffmpeg": with_ffmpeg,
}


if __name__ == "__main__":
    main()
