"""Uploaders: samples in, committed shards out.

`SplitUploader` takes the steps of one split of one source:

    add_step ... -> make_durable (a segment is closed: the checkpoint) -> publish_ready
    publish_ready: staged rows -> part (utils/shards) -> commit (utils/publisher) -> then, and only then:
    the uploaded-IDs checkpoint is written, and the segments that the state now covers are deleted

`StreamingUploader` is the same for a script that brings its own samples with their own IDs.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from utils import hub
from utils.audio import audio_from_array
from utils.durable import remove, write_atomically
from utils.errors import UsageError
from utils.hub_target import HubTarget
from utils.ids import IdSet
from utils.names import LONGEST_NAME_BYTES, file_name_of
from utils.publisher import Publisher, open_publisher
from utils.schema import LANGUAGE, AudioCell, Reject, Sample
from utils.shards import ShardLimits, build_part, next_cut
from utils.staging import Staging, StagingKey
from utils.state import Progress, SourceState, SplitState, State, Step
from utils.targets import Target

log = logging.getLogger(__name__)


class SplitUploader:
    """One split of one source on its way into the target."""

    def __init__(
        self,
        publisher: Publisher,
        source: str,
        split: str,
        staging_folder: Path,
        checkpoint_path: Path,
        limits: ShardLimits,
    ) -> None:
        self.publisher = publisher
        self.source = source
        self.split = split
        self.checkpoint_path = checkpoint_path
        self._limits = limits
        self._built_folder = staging_folder / "built"
        for leftover in self._built_folder.glob(f"*-{split}-{source}-*.parquet"):
            remove(leftover)  # of a run that died after building; a part is always built anew
        declared = publisher.state.sources[source]
        key = StagingKey(publisher.state.generation, source, split, declared.revision, declared.fingerprint)
        self.staging = Staging(staging_folder, key)
        self.progress = self.staging.recover(self._published.progress)
        """After the last step taken, staged ones included."""
        self._checked = 0
        self.reject_reasons = Counter(
            staged.reject.reason
            for segment in self.staging.segments
            for staged in segment.rejects
            if staged.ordinal > self._published.progress.read
        )
        remember_uploaded(checkpoint_path, publisher.committed, split, publisher.target.name)

    @property
    def _published(self) -> SplitState:
        return self.publisher.state.split(self.source, self.split)

    def add_step(self, step: Step) -> None:
        """Take the next step; durable only after `make_durable`."""
        self.staging.add(step)
        self.progress = step.progress
        if isinstance(step.outcome, Reject):
            self.reject_reasons[step.outcome.reason] += 1

    def make_durable(self, progress: Progress) -> None:
        """Close the segment: all steps taken so far survive whatever comes."""
        self.staging.close(progress)
        self.progress = progress

    def publish_ready(self, flush: bool = False) -> None:
        """Build and commit every part that the closed segments hold in full; with `flush`, what is left too."""
        if len(self.staging.segments) == self._checked and not flush:
            return
        while cut := next_cut(self.staging.segments, self._published, self._limits, flush):
            state = self.publisher.state
            built = build_part(
                cut,
                self.staging.segments,
                self._published,
                state.next_id,
                state.sample_rate_hz,
                self._built_folder,
            )
            self.publisher.publish(built)
            remember_uploaded(self.checkpoint_path, self.publisher.committed, self.split, self.publisher.target.name)
            self.staging.drop_published(self._published.progress)
            for local in built.files.values():
                remove(local)
        self._checked = len(self.staging.segments)


def upload_checkpoint_path(folder: Path, target_name: str, split: str) -> Path:
    """Where the uploaded IDs of a target's split are written."""
    safe = target_name.strip("/").replace("/", "_")
    if len(safe.encode()) > LONGEST_NAME_BYTES:
        safe = file_name_of(target_name)
    return folder / f"{safe}_{split}_upload_checkpoint.json"


def remember_uploaded(path: Path, state: State, split: str, dataset_name: str) -> None:
    """Write the uploaded-IDs checkpoint of a split from the committed state; nothing where it says so already."""
    splits = [source.splits[split] for source in state.sources.values() if split in source.splits]
    content = {
        "shard_index": sum(known.parts for known in splits),
        "samples_uploaded": sum(known.published for known in splits),
        "uploaded_ids": IdSet(ranges=(ids for known in splits for ids in known.ids)).to_json(),
        "split": split,
        "dataset_name": dataset_name,
        "generation": state.generation,
    }
    raw = (json.dumps(content, ensure_ascii=False) + "\n").encode()
    if not path.exists() or path.read_bytes() != raw:
        write_atomically(path, raw)


def load_uploaded(path: Path) -> dict[str, Any] | None:
    """An uploaded-IDs checkpoint: its fields, `uploaded_ids` as an `IdSet`. Plain lists of older versions load too.

    None where there is none; UsageError where it can't be read.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, list):
            content = {"uploaded_ids": content}
        ids = IdSet.from_json(content.get("uploaded_ids", []))
        return {"shard_index": 0, "samples_uploaded": len(ids), **content, "uploaded_ids": ids}
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"The upload checkpoint {path} is damaged ({error}). Nothing was changed. Delete it: it is written anew "
            "from the dataset itself."
        ) from error


class StreamingUploader(SplitUploader):
    """Uploads samples that carry their own IDs to one split of a dataset, each ID once.

    An ID counts as uploaded after its commit has landed, never before: a failed `upload_batch` or `flush`
    raises, keeps its samples staged, and can be repeated, in this process or in the next one.

    `repo_id`: `user/name` on the Hub; or pass `target`, such as `LocalTarget(folder)`. `append_mode` goes on
    with the dataset that is there; without it a new one is begun (the old one stays reachable), unless
    `checkpoint_path` shows that it was this uploader's run that began the dataset that is there.
    """

    SOURCE = "samples"

    def __init__(
        self,
        repo_id: str,
        token: str | None = None,
        private: bool = False,
        append_mode: bool = False,
        split: str = "train",
        checkpoint_path: str | Path | None = None,
        *,
        target: Target | None = None,
        staging_dir: str | Path = "data/staging",
        upload_batch_size: int = 5000,
        sample_rate_hz: int | None = 16_000,
        clean_name: Callable[[str], str] = lambda name: name.strip("/").replace("/", "_"),
    ) -> None:
        staging = Path(staging_dir) / clean_name(repo_id)
        path = Path(checkpoint_path or upload_checkpoint_path(Path("checkpoints"), repo_id, split))
        goal = target or _open_hub(repo_id, token, private, staging)
        publisher = open_publisher(goal, not (append_mode or _is_ours(goal, load_uploaded(path))), sample_rate_hz)
        if self.SOURCE not in publisher.state.sources:
            publisher.declare(self.SOURCE, SourceState(revision="", fingerprint={}, about=ABOUT_SAMPLES))
        super().__init__(publisher, self.SOURCE, split, staging, path, ShardLimits(max_rows=upload_batch_size))
        self.batch_size = upload_batch_size
        self._uploaded = _published_ids(publisher, self.SOURCE, split)
        self._pending = IdSet(sample_id for segment in self.staging.segments for sample_id in segment.ids())

    @property
    def uploaded_ids(self) -> IdSet:
        """The IDs whose commit has landed."""
        return self._uploaded

    def add_sample(self, sample: Mapping[str, Any]) -> bool:
        """Take a sample; False where its ID is uploaded, or waits for it, already. Uploads when a batch is full."""
        row = _complete_row(sample, self.split)
        if row["ID"] in self._uploaded or row["ID"] in self._pending:
            return False
        self.add_step(Step(self.progress.after({"index": self.progress.read + 1}, row), row))
        self._pending.add(row["ID"])
        if len(self._pending) >= self.batch_size:
            self.upload_batch()
        return True

    def upload_batch(self, samples: Iterable[Mapping[str, Any]] = ()) -> int:
        """Upload `samples` and all that wait; returns how many rows were uploaded."""
        for sample in samples:
            self.add_sample(sample)
        self.make_durable(self.progress)
        before = self._published.published
        try:
            self.publish_ready(flush=True)
        finally:
            self._settle()
        return self._published.published - before

    def flush(self) -> int:
        """Upload all that waits."""
        return self.upload_batch()

    def _settle(self) -> None:
        """What is not staged any more has been committed."""
        staged = IdSet(sample_id for segment in self.staging.segments for sample_id in segment.ids())
        for sample_id in [sample_id for sample_id in self._pending if sample_id not in staged]:
            self._pending.discard(sample_id)
            self._uploaded.add(sample_id)


ABOUT_SAMPLES = {
    "title": "Samples added by a script",
    "url": "",
    "licence": "other",
    "licence_name": "unknown",
    "hours": "",
}


def _open_hub(repo_id: str, token: str | None, private: bool, lock_folder: Path) -> HubTarget:
    target = HubTarget(repo_id, token or hub.find_token(Path()), lock_folder, private=private)
    target.open()
    return target


def _is_ours(target: Target, uploaded: Mapping[str, Any] | None) -> bool:
    """Whether the dataset that is there is the one that the upload checkpoint tells of."""
    state = target.snapshot().state
    return state is not None and uploaded is not None and uploaded.get("generation") == state.generation


def _published_ids(publisher: Publisher, source: str, split: str) -> IdSet:
    """The IDs of the published rows, read from the shards themselves (law 3)."""
    ids = IdSet()
    for _, path in publisher.published_files("data", source, split):
        for sample_id in publisher.target.read_columns(path, ["ID"], publisher.snapshot)["ID"].to_pylist():
            ids.add(sample_id)
    return ids


def _complete_row(sample: Mapping[str, Any], split: str) -> Sample:
    """A sample with all columns; needs `ID` and `audio` (bytes, or an array with its rate)."""
    sample_id = str(sample.get("ID") or "")
    if not sample_id:
        raise UsageError("A sample without an ID can't be uploaded: nothing would tell it from its own copy.")
    transcript = str(sample.get("transcript") or "")
    return Sample(
        ID=sample_id,
        source_id=str(sample.get("source_id") or f"{StreamingUploader.SOURCE}/{split}/{sample_id}"),
        dataset_name=str(sample.get("dataset_name") or StreamingUploader.SOURCE),
        speaker_id=sample.get("speaker_id"),
        Language=str(sample.get("Language") or LANGUAGE),
        audio=_audio_cell(sample_id, sample.get("audio")),
        transcript=transcript,
        transcript_raw=str(sample.get("transcript_raw") or transcript),
        length=float(sample.get("length") or 0.0),
        confidence_score=float(sample.get("confidence_score", 1.0 if transcript else 0.0)),
        audio_hash=str(sample.get("audio_hash") or ""),
        source_metadata=sample.get("source_metadata"),
    )


def _audio_cell(sample_id: str, audio: Any) -> AudioCell:
    if isinstance(audio, bytes):
        return {"bytes": audio, "path": "clip.wav"}
    if isinstance(audio, Mapping) and audio.get("array") is not None:
        return {"bytes": audio_from_array(audio["array"], int(audio["sampling_rate"])), "path": "clip.wav"}
    if isinstance(audio, Mapping) and isinstance(audio.get("bytes"), bytes):
        return {"bytes": audio["bytes"], "path": str(audio.get("path") or "clip.wav")}
    raise UsageError(f"Sample {sample_id} has no audio that can be uploaded: give bytes, or an array with its rate.")
