"""What several test modules need: made-up clips, a small processor, rows of a published dataset."""

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from processors.base_processor import BaseProcessor
from utils.dataset.state import Part, SourceState, State
from utils.dataset.target import Change
from utils.rows.progress import Progress, Step
from utils.rows.schema import LANGUAGE, Outcome, Position, RawClip, Reject, RejectReason, Sample, Skip


def tone(number: int, duration_s: float = 0.3, rate_hz: int = 16_000) -> bytes:
    """A WAV clip unlike that of any other number."""
    time_s = np.arange(int(duration_s * rate_hz)) / rate_hz
    samples = 0.3 * np.sin(2 * np.pi * (200 + number) * time_s)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def sample(number: int, **columns: Any) -> dict[str, Any]:
    """A sample as a script would hand it to StreamingUploader."""
    return {"ID": f"S{number}", "audio": tone(number), "transcript": f"ประโยคที่ {number}", "length": 0.3, **columns}


class TonesProcessor(BaseProcessor):
    """Seeks; split names and sizes are class attributes. Every seventh clip is silent: a reject."""

    name = "Tones"
    sizes = {"test": 8, "train": 30}

    def get_available_splits(self) -> list[str]:
        return list(self.sizes)

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        for index in range(position["index"], self.sizes[split]):
            audio = tone(0)[:44] + bytes(9600) if index % 7 == 6 else tone(index)
            yield RawClip(f"{split}-{index}", {"index": index + 1}, audio, transcript=f"ประโยค {index}")


def published_rows(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """All rows of a published folder, shards in the order of their names."""
    paths = sorted(folder.glob("data/*/*.parquet"))
    return pa.concat_tables(pq.read_table(path, columns=columns, partitioning=None) for path in paths)


def published_ids(folder: Path) -> list[str]:
    """The IDs of all published rows; a dataset with no shard has none."""
    if not list(folder.glob("data/*/*.parquet")):
        return []
    return published_rows(folder, ["ID"])["ID"].to_pylist()


def tree(folder: Path, *below: str) -> dict[str, bytes]:
    """Path -> content of all files below the named folders."""
    paths = [path for name in below for path in sorted((folder / name).rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def row(number: int, size: int = 40) -> Sample:
    """A sample as a processor hands it on: no ID yet; its "audio" is noise, for what never decodes it."""
    return Sample(
        ID="",
        source_id=f"Corpus/train/{number}",
        dataset_name="Corpus",
        speaker_id=f"SPK_{number % 3}" if number % 4 else None,
        Language=LANGUAGE,
        audio={"bytes": Random(number).randbytes(size), "path": "clip.flac"},
        transcript=f"ประโยคที่ {number}",
        transcript_raw=f"ประโยคที่  {number}",
        length=number / 8,
        confidence_score=1.0,
        audio_hash=f"{number:032x}",
        source_metadata=None if number % 5 else '{"gender": "female"}',
    )


def steps(outcomes: str, start: Progress | None = None, size: int = 40) -> list[Step]:
    """Steps by their letters: k kept, r rejected, u unselected, n known from an earlier revision."""
    taken, progress = [], start or Progress()
    for number, letter in enumerate(outcomes, start=progress.read + 1):
        outcome: Outcome = {
            "k": row(number, size),
            "r": Reject(f"Corpus/train/{number}", RejectReason.SILENT, f"clip {number}"),
            "u": Skip.UNSELECTED,
            "n": Skip.KNOWN,
        }[letter]
        progress = progress.after({"index": number, "file": f"clips-{number // 10}.tar"}, outcome)
        taken.append(Step(progress, outcome))
    return taken


def begun_state(generation: str = "generation", replaces_old_data: bool = False) -> State:
    """A state that names one source, of which nothing is published yet."""
    source = SourceState("revision", {}, {"title": "Corpus", "url": "", "licence": "other", "licence_name": "unknown"})
    return State(generation, 16_000, replaces_old_data=replaces_old_data).with_source("Corpus", source)


def change(folder: Path, state: State, content: bytes = b"rows") -> Change:
    """The next part of `Corpus/train` (two rows, one reject), planned on `state`, its local files in `folder`."""
    before = state.split("Corpus", "train")
    progress = steps("kkr", before.progress)[-1].progress
    ids = ((state.next_id, state.next_id + 1),)
    part = Part("Corpus", "train", before.parts, progress, 2, ids, 0.5, len(content), has_rejects=True)
    folder.mkdir(parents=True, exist_ok=True)
    files = {str(path): folder / str(path).replace("/", "-") for path in (part.shard_path, part.rejected_path)}
    for path, local in files.items():
        local.write_bytes(path.encode() + b" " + content)
    return Change(f"Add part {part.number}", state.after(part), files)
