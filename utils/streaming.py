"""`StreamingUploader`: for scripts that bring their own samples with their own IDs. (`--streaming` is another thing.)

It has the uploader of a run (utils/upload/split_uploader.py), with one source, `samples`, whose rows keep the IDs that
they carry. What is uploaded is known from the target (utils/upload/uploaded_ids.py); it holds the lock that a run
holds.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from utils.audio.rejected import AudioRejected
from utils.audio.standardize import audio_from_array, standardize_audio
from utils.choices import AudioOptions
from utils.dataset.hub_repo import HubTarget
from utils.dataset.state import SourceState, SplitState, State
from utils.dataset.target import Target
from utils.disk.file_names import staging_name
from utils.errors import UsageError
from utils.known.judge import is_removed_recording
from utils.rows.ids import number_of
from utils.rows.progress import Step
from utils.rows.schema import LANGUAGE, SPLITS, AudioCell, RowSchema, Sample
from utils.sources import hub
from utils.upload.cutting import ShardLimits
from utils.upload.publisher import Publisher, open_publisher
from utils.upload.shared_lock import is_held, share_lock, was_shared
from utils.upload.split_uploader import SplitUploader
from utils.upload.upload_checkpoint import load_uploaded, remember_uploaded, upload_checkpoint_path
from utils.upload.uploaded_ids import UploadedIds

_newest: weakref.WeakValueDictionary[tuple[Path, str], "StreamingUploader"] = weakref.WeakValueDictionary()
"""The uploader of each target's split that has its staging: the one that was made last."""


class StreamingUploader:
    """Uploads samples that carry their own IDs to one split of a dataset, each ID once.

    An ID counts as uploaded after its commit has landed, never before: a failed `upload_batch` or `flush`
    raises, keeps its samples staged, and can be repeated, in this process or in the next one.

    `repo_id`: `user/name` on the Hub; or pass `target`, such as `LocalTarget(folder)`. `append_mode` goes on
    with the dataset that is there; without it a new one is begun (the old one stays reachable), unless
    `checkpoint_path` shows that it was this uploader's run that began the dataset that is there, or is a file of an
    older program that has uploaded something, or another uploader of this process is at work on it.

    It holds the target's lock, together with other uploaders of this process: one for each split. `close` lets go of
    it, and so does the end of the object or of the process. As a context manager it uploads what waits, then closes.
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
        self.split = split
        self.batch_size = upload_batch_size
        staging = Path(staging_dir) / clean_name(repo_id)
        path = Path(checkpoint_path or upload_checkpoint_path(Path("checkpoints"), repo_id, split))
        goal = target or _hub_target(repo_id, token, private, Path(staging_dir))
        with ExitStack() as held:
            goes_on = append_mode or is_held(goal)
            held.enter_context(share_lock(goal))
            if isinstance(goal, HubTarget) and target is None:
                goal.open()
            publisher = open_publisher(
                goal, not (goes_on or _is_gone_on_with(goal, load_uploaded(path))), sample_rate_hz
            )
            _declare_samples(publisher)
            self._ids = _Ids(publisher, split, staging / "ids" / split)
            held.callback(self._ids.uploaded.close)
            limits = ShardLimits(max_rows=upload_batch_size)
            self.split_uploader = SplitUploader(
                publisher, self.SOURCE, split, staging, path, limits, remember=self._ids.remember
            )
            """What stages and publishes its samples."""
            self._ids.waiting.update(dict.fromkeys(self._staged_ids()))
            self._newest_key = (goal.lock_path.absolute(), split)
            _newest[self._newest_key] = self
            self._let_go = weakref.finalize(self, held.pop_all().close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the target; `flush` first. What waits is dropped, but for what a failed upload has staged."""
        self._let_go()

    @property
    def uploaded_ids(self) -> Set[str]:
        """The IDs whose commit has landed."""
        return self._ids.uploaded

    def add_sample(self, sample: Mapping[str, Any]) -> bool:
        """Take a sample; False where its ID is uploaded, or waits for it, already, or where it was taken out for good.

        Uploads when a batch is full.
        """
        self._refuse_if_over()
        row = _complete_row(sample, self.split)
        if self._was_taken_out(row):
            return False
        if row["ID"] in self._ids.waiting or row["ID"] in self._ids.uploaded:
            return False
        before = self.split_uploader.progress
        self.split_uploader.add_step(Step(before.after({"index": before.read + 1}, row), row))
        self._ids.waiting[row["ID"]] = None
        if len(self._ids.waiting) >= self.batch_size:
            self.upload_batch()
        return True

    def _was_taken_out(self, row: Sample) -> bool:
        """Whether `--remove` says that this sample, its speaker, its ID or its recording is not to come again."""
        removed = self._publisher.removed
        names = {row["source_id"], *(source_id(split, row["ID"]) for split in SPLITS)}
        if removed.has_source(self.SOURCE) or any(removed.means(name, row["speaker_id"]) for name in names):
            return True
        if any(is_removed_recording(removed, heard) for heard in self._heard(row)):
            return True
        number = number_of(row["ID"])
        return number is not None and any(first <= number <= last for first, last in self._publisher.state.holes)

    def _heard(self, row: Sample) -> Iterator[Sample]:
        """A sample with what recordings on the list are known by: as it is, and as a run would publish it."""
        if row["audio_hash"]:
            yield row
        removed = self._publisher.removed
        if not (removed.audio or removed.recordings):
            return
        rate_hz = self._publisher.committed.sample_rate_hz or AudioOptions.sample_rate_hz
        for options in (AudioOptions(standardize=False), AudioOptions(sample_rate_hz=rate_hz)):
            with suppress(AudioRejected):  # what no run could decode, no run has published
                audio = standardize_audio(row["audio"]["bytes"], options)
                yield {**row, "audio_hash": audio.audio_hash, "length": audio.duration_s}

    def upload_batch(self, samples: Iterable[Mapping[str, Any]] = ()) -> int:
        """Upload `samples` and all that wait; returns how many rows were uploaded."""
        self._refuse_if_over()
        self._ids.enter_published(self._publisher.committed)  # of a commit after which the disk failed us
        before = self._published.published
        for sample in samples:
            self.add_sample(sample)
        self.split_uploader.make_durable(self.split_uploader.progress)
        self._catch_up()
        self.split_uploader.publish_ready(flush=True)
        return self._published.published - before

    def flush(self) -> int:
        """Upload all that waits."""
        return self.upload_batch()

    @property
    def _publisher(self) -> Publisher:
        return self.split_uploader.publisher

    @property
    def _published(self) -> SplitState:
        return self._publisher.state.split(self.SOURCE, self.split)

    def _staged_ids(self) -> list[str]:
        """The IDs of the staged rows that are not published, in order. Every step of ours is a row."""
        done = self._published.progress.read
        return [
            sample_id
            for segment in self.split_uploader.staging.segments
            for sample_id in segment.ids()[max(0, done - segment.first_ordinal) :]
        ]

    def _catch_up(self) -> None:
        """Go on from what another uploader of this process has published meanwhile, to another split."""
        target = self._publisher.target
        if not was_shared(target):
            return
        snapshot = target.snapshot()
        if snapshot.state is None or snapshot.head == self._publisher.snapshot.head:
            return
        now = Publisher(target, snapshot)
        _declare_samples(now)
        same_split = now.state.split(self.SOURCE, self.split) == self._published
        if same_split and now.state.generation == self._publisher.state.generation:
            self.split_uploader.publisher = self._ids.uploaded.publisher = now

    def _refuse_if_over(self) -> None:
        if not self._let_go.alive:
            raise UsageError("This uploader is closed. Nothing was changed. Make a new one, with append_mode=True.")
        if _newest.get(self._newest_key) is not self:
            raise UsageError(
                f"Another uploader to {self._publisher.target.name}, split {self.split}, was made in this process, and "
                "has taken over. Nothing was changed. Use that one."
            )


class _Ids:
    """The IDs of a script's samples: those whose commit has landed, and those that wait for it.

    It does not know its `StreamingUploader`. The split's uploader calls it after a commit: if that led back, the two
    would hold each other, and a forgotten one the target's lock.
    """

    def __init__(self, publisher: Publisher, split: str, index_folder: Path) -> None:
        self.uploaded = UploadedIds(publisher, StreamingUploader.SOURCE, split, index_folder)
        self.waiting: dict[str, None] = {}
        """In the order in which they came."""
        self._split = split
        self._entered = self._published_in(publisher.committed)

    def remember(self, path: Path, state: State, split: str, dataset_name: str, rows: RowSchema) -> None:
        """Enter the IDs of what was just committed, then write the uploaded-IDs checkpoint."""
        self.enter_published(state)
        remember_uploaded(path, state, split, dataset_name, rows, self.uploaded.listed)

    def enter_published(self, state: State) -> None:
        """Published rows leave the front of those that wait: rows are published in the order they came in."""
        ids = list(islice(self.waiting, self._published_in(state) - self._entered))
        if ids:
            self.uploaded.add_published(ids)
            self._entered += len(ids)
            for sample_id in ids:
                del self.waiting[sample_id]

    def _published_in(self, state: State) -> int:
        return state.split(StreamingUploader.SOURCE, self._split).published


ABOUT_SAMPLES = {
    "title": "Samples added by a script",
    "url": "",
    "licence": "other",
    "licence_name": "unknown",
    "hours": "",
}


def _hub_target(repo_id: str, token: str | None, private: bool, staging: Path) -> HubTarget:
    """The repo, with the very lock file that a run of `main.py` has for it."""
    lock_folder = staging / staging_name(repo_id, on_hub=True)
    return HubTarget(repo_id, token or hub.find_token(Path()), lock_folder, private=private)


def _declare_samples(publisher: Publisher) -> None:
    if StreamingUploader.SOURCE not in publisher.state.sources:
        publisher.declare(StreamingUploader.SOURCE, SourceState(revision="", fingerprint={}, about=ABOUT_SAMPLES))


def _is_gone_on_with(target: Target, uploaded: Mapping[str, Any] | None) -> bool:
    """Whether an upload checkpoint tells of the dataset that is there.

    One of an older program does not say of which it tells. It was written to be gone on with, so no dataset is put
    away for it: where what is there has no state, that is refused.
    """
    if uploaded is None:
        return False
    if "generation" not in uploaded:
        return len(uploaded["uploaded_ids"]) > 0
    state = target.snapshot().state
    return state is not None and uploaded["generation"] == state.generation


def source_id(split: str, sample_id: str) -> str:
    """What a sample is called that has no name of its own."""
    return f"{StreamingUploader.SOURCE}/{split}/{sample_id}"


def _complete_row(sample: Mapping[str, Any], split: str) -> Sample:
    """A sample with all columns; needs `ID` and `audio` (bytes, or an array with its rate)."""
    sample_id = str(sample.get("ID") or "")
    if not sample_id:
        raise UsageError("A sample without an ID can't be uploaded: nothing would tell it from its own copy.")
    transcript = str(sample.get("transcript") or "")
    return Sample(
        ID=sample_id,
        source_id=str(sample.get("source_id") or source_id(split, sample_id)),
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
