"""`StreamingUploader`: for scripts that bring their own samples with their own IDs.

It is the uploader of a run (utils/upload/split_uploader.py), with one source, `samples`, whose rows keep the IDs that
they carry. What is uploaded is known from the target (utils/upload/uploaded_ids.py); it holds the lock that a run
holds.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from utils.audio.standardize import audio_from_array
from utils.dataset.hub_repo import HubTarget
from utils.dataset.state import SourceState
from utils.dataset.target import Target
from utils.disk.file_names import staging_name
from utils.errors import UsageError
from utils.rows.ids import number_of
from utils.rows.progress import Step
from utils.rows.schema import LANGUAGE, AudioCell, Sample
from utils.sources import hub
from utils.upload.cutting import ShardLimits
from utils.upload.publisher import Publisher, open_publisher
from utils.upload.shared_lock import is_held, share_lock, was_shared
from utils.upload.split_uploader import SplitUploader
from utils.upload.upload_checkpoint import load_uploaded, remember_uploaded, upload_checkpoint_path
from utils.upload.uploaded_ids import UploadedIds

_newest: weakref.WeakValueDictionary[tuple[Path, str], "StreamingUploader"] = weakref.WeakValueDictionary()
"""The uploader of each target's split that has its staging: the one that was made last."""


class StreamingUploader(SplitUploader):
    """Uploads samples that carry their own IDs to one split of a dataset, each ID once.

    An ID counts as uploaded after its commit has landed, never before: a failed `upload_batch` or `flush`
    raises, keeps its samples staged, and can be repeated, in this process or in the next one.

    `repo_id`: `user/name` on the Hub; or pass `target`, such as `LocalTarget(folder)`. `append_mode` goes on
    with the dataset that is there; without it a new one is begun (the old one stays reachable), unless
    `checkpoint_path` shows that it was this uploader's run that began the dataset that is there, or another uploader
    of this process is at work on it.

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
        staging = Path(staging_dir) / clean_name(repo_id)
        path = Path(checkpoint_path or upload_checkpoint_path(Path("checkpoints"), repo_id, split))
        goal = target or _hub_target(repo_id, token, private, Path(staging_dir))
        with ExitStack() as held:
            goes_on = append_mode or is_held(goal)
            held.enter_context(share_lock(goal))
            if isinstance(goal, HubTarget) and target is None:
                goal.open()
            publisher = open_publisher(goal, not (goes_on or _is_ours(goal, load_uploaded(path))), sample_rate_hz)
            _declare_samples(publisher)
            self._uploaded = UploadedIds(publisher, self.SOURCE, split, staging / "ids" / split)
            held.callback(self._uploaded.close)
            self._entered = publisher.state.split(self.SOURCE, split).published
            self._pending: dict[str, None] = {}
            super().__init__(publisher, self.SOURCE, split, staging, path, ShardLimits(max_rows=upload_batch_size))
            self._pending.update(dict.fromkeys(self._staged_ids()))
            self.batch_size = upload_batch_size
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
        return self._uploaded

    def add_sample(self, sample: Mapping[str, Any]) -> bool:
        """Take a sample; False where its ID is uploaded, or waits for it, already, or where it was taken out for good.

        Uploads when a batch is full.
        """
        self._refuse_if_over()
        row = _complete_row(sample, self.split)
        if self._was_taken_out(row):
            return False
        if row["ID"] in self._pending or row["ID"] in self._uploaded:
            return False
        self.add_step(Step(self.progress.after({"index": self.progress.read + 1}, row), row))
        self._pending[row["ID"]] = None
        if len(self._pending) >= self.batch_size:
            self.upload_batch()
        return True

    def _was_taken_out(self, row: Sample) -> bool:
        """Whether `--remove` says that this sample, its speaker or its ID is not to come again."""
        removed = self.publisher.removed
        if removed.has_source(self.SOURCE) or removed.means(row["source_id"], row["speaker_id"]):
            return True
        if removed.means_audio(row["audio_hash"]):
            return True
        number = number_of(row["ID"])
        return number is not None and any(first <= number <= last for first, last in self.publisher.state.holes)

    def upload_batch(self, samples: Iterable[Mapping[str, Any]] = ()) -> int:
        """Upload `samples` and all that wait; returns how many rows were uploaded."""
        self._refuse_if_over()
        self._enter_published()  # of a batch that was committed, but the disk failed us after that
        before = self._published.published
        for sample in samples:
            self.add_sample(sample)
        self.make_durable(self.progress)
        self._catch_up()
        self.publish_ready(flush=True)
        return self._published.published - before

    def flush(self) -> int:
        """Upload all that waits."""
        return self.upload_batch()

    def remember(self) -> None:
        """Enter the IDs of what was just committed, then write the uploaded-IDs checkpoint."""
        self._enter_published()
        state, name = self.publisher.committed, self.publisher.target.name
        remember_uploaded(self.checkpoint_path, state, self.split, name, self._uploaded.listed)

    def _enter_published(self) -> None:
        """Published rows leave the front of those that wait: rows are published in the order they came in."""
        ids = list(islice(self._pending, self._published.published - self._entered))
        if ids:
            self._uploaded.add_published(ids)
            self._entered += len(ids)
            for sample_id in ids:
                del self._pending[sample_id]

    def _staged_ids(self) -> list[str]:
        """The IDs of the staged rows that are not published, in order. Every step of ours is a row."""
        done = self._published.progress.read
        return [
            sample_id
            for segment in self.staging.segments
            for sample_id in segment.ids()[max(0, done - segment.first_ordinal) :]
        ]

    def _catch_up(self) -> None:
        """Go on from what another uploader of this process has published meanwhile, to another split."""
        target = self.publisher.target
        if not was_shared(target):
            return
        snapshot = target.snapshot()
        if snapshot.state is None or snapshot.head == self.publisher.snapshot.head:
            return
        now = Publisher(target, snapshot)
        _declare_samples(now)
        same_split = now.state.split(self.SOURCE, self.split) == self._published
        if same_split and now.state.generation == self.publisher.state.generation:
            self.publisher = self._uploaded.publisher = now

    def _refuse_if_over(self) -> None:
        if not self._let_go.alive:
            raise UsageError("This uploader is closed. Nothing was changed. Make a new one, with append_mode=True.")
        if _newest.get(self._newest_key) is not self:
            raise UsageError(
                f"Another uploader to {self.publisher.target.name}, split {self.split}, was made in this process, and "
                "has taken over. Nothing was changed. Use that one."
            )


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


def _is_ours(target: Target, uploaded: Mapping[str, Any] | None) -> bool:
    """Whether the dataset that is there is the one that the upload checkpoint tells of."""
    state = target.snapshot().state
    return state is not None and uploaded is not None and uploaded.get("generation") == state.generation


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
