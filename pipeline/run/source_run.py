"""One source in one run: opened at its pinned revision, checked against what was begun, read split by split."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from pipeline.options import Options
from processors.base_processor import BaseProcessor, sample_quotas
from processors.engine.run_side import OrderedMerge, RunFacts
from utils.choices import DEFAULT_DEDUP, in_fingerprint
from utils.dataset.layout import DATA_FOLDERS
from utils.dataset.state import SourceState, SplitState
from utils.disk.free_space import DiskFloor
from utils.errors import TargetRefused
from utils.known.clips import Reached
from utils.known.judge import Judge, is_removed_recording, recording_of
from utils.known.source_ids import SeenIds
from utils.process.in_flight import InFlight
from utils.rows.ids import id_of
from utils.rows.progress import Progress
from utils.rows.schema import (
    REMOVED_FOR_GOOD,
    SPEECH,
    Outcome,
    Reject,
    RejectReason,
    Row,
    RowSchema,
    Skip,
    is_refused,
)
from utils.sources.mirror_revision import is_mirror_revision
from utils.sources.source_files import SourceChanged
from utils.text.normalize import TEXT_VERSION
from utils.upload.background import BackgroundWorker
from utils.upload.cutting import ShardLimits
from utils.upload.publisher import Publisher
from utils.upload.segments import StagingKey, staged_key
from utils.upload.split_uploader import SplitUploader
from utils.upload.staging import refuse_other_fingerprint
from utils.upload.upload_checkpoint import upload_checkpoint_path

log = logging.getLogger(__name__)


_NAMING_KEY = "source_ids"


def naming_of(begun: Mapping[str, Any]) -> int:
    """The rule for source ids that a source was begun with, from its fingerprint."""
    rule = begun.get(_NAMING_KEY, 1)
    return rule if isinstance(rule, int) else 0


def fingerprint(options: Options, source: str, rows: RowSchema = SPEECH, naming: int = 1) -> dict[str, Any]:
    """The options that change what is published of a source. A resume with others is refused."""
    audio = {f"audio.{name}": value for name, value in asdict(options.audio).items()}
    text = {f"text.{name}": value for name, value in options.text.changed().items()}
    # "rows" is there for rows without audio alone, "text" where it is not as by default: what speech was begun with
    # stays what it is.
    own = options.own_sources.get(source)
    return {
        **({**audio, **text} if rows.has_audio else {"rows": rows.name}),
        **(in_fingerprint(options.dedup or DEFAULT_DEDUP) if rows.has_audio else {}),
        **{f"option.{name}": value for name, value in sorted(options.source_options.get(source, {}).items())},
        **(own.definition() if own else {}),
        **({_NAMING_KEY: naming} if naming != 1 else {}),
        "text_version": TEXT_VERSION,
        "upload_batch_size": options.upload_batch_size,
        "max_shard_mb": options.max_shard_mb,
        "sample_size": options.sample_size,
        "demo": options.demo,
    }


def newer_begun(staged: StagingKey | None, published: SourceState) -> bool:
    """Whether a newer revision of a source was begun and is only staged so far."""
    return staged is not None and staged.revision != published.revision


def has_clips(source: SourceState) -> bool:
    """Whether a clip of a source is published, rejected or left out: from then on it stays as it was begun.

    A source that could not be read is in the state as well: the other sources' commits name it.
    """
    return any(split.progress.read or split.earlier for split in source.splits.values())


def reached(source: SourceState, split: str, progress: Progress | None = None) -> Reached:
    """How far the index of clips reaches where it has all of a split's clips up to `progress`: the published ones."""
    books = source.splits.get(split, SplitState())
    return Reached(f"{len(books.earlier)}/{source.revision}", (progress or books.progress).read)


class SourceRun(OrderedMerge):
    """A source whose splits can be read into the target."""

    def __init__(
        self,
        processor: BaseProcessor,
        publisher: Publisher,
        options: Options,
        background: BackgroundWorker,
        in_flight: InFlight,
    ) -> None:
        """Open the source and take up what is staged. Raises SourceError, or TargetRefused on other options."""
        self.processor = processor
        self.name = processor.name
        self._publisher = publisher
        self._background = background
        self._options = options
        self.splits = processor.get_available_splits()
        self._declare()
        self.quotas = self._quotas()
        self.uploaders = {split: self._uploader(split) for split in self.splits}
        self._revision_number = max(
            (len(publisher.state.split(self.name, split).earlier) for split in self.splits), default=0
        )
        path = options.staging_dir / "seen" / f"{self.name}.sqlite"
        for uploader in self.uploaders.values():
            for recording in uploader.recordings_heard():
                publisher.hear(recording)
        self.seen = SeenIds(path, self._index_identity, self._enter_known)
        self.clip_judge: Judge | None = None
        """Who knows a clip that the dataset has already; set before a split is read."""
        processor.merge = self
        processor.facts = RunFacts(
            removed=publisher.removed,
            in_flight=in_flight,
            is_newer_revision=self._revision_number > 0,
            seek_points={split: uploader.seek_points for split, uploader in self.uploaders.items()},
        )
        try:
            self._fill_seen()
        except BaseException:
            self.seen.close()
            raise

    def _quotas(self) -> dict[str, int]:
        """How many samples each split has still to give in sample mode; empty: all."""
        if self._options.sample_size is None:
            return {}
        whole = sample_quotas(self.splits, self._options.sample_size)
        earlier = {split: self._publisher.state.split(self.name, split).earlier for split in self.splits}
        return {split: max(0, whole[split] - sum(books.kept for books in earlier[split])) for split in self.splits}

    def read_split(self, split: str, on_step: Any) -> None:
        """Read a split to its end and stage it; the background worker publishes. Does nothing if it is finished."""
        uploader = self.uploaders[split]
        uploader.publish_ready()
        if uploader.progress.finished:
            self.processor.progress[split] = uploader.progress  # read by an earlier run, and not published by it
            return
        steps = self.processor.process_split(
            split,
            uploader.progress,
            sample_size=self.quotas.get(split),
            checkpoint_interval=self._options.checkpoint_interval,
        )
        for step in steps:
            uploader.publish_ready()
            uploader.add_step(step)
            on_step(step)
            if self._background.has_failed:
                self.make_durable(split, uploader.progress)
                self._background.wait()
        uploader.publish_ready(flush=self.processor.is_open_ended)
        if self.processor.cut_short is not None:
            self._background.wait()
            raise self.processor.cut_short

    def close(self) -> None:
        self.processor.close()
        self.seen.close()
        for uploader in self.uploaders.values():
            uploader.drop_ahead()

    def admit(self, source_id: str, split: str, ordinal: int) -> Skip | Reject | None:
        removed = self._publisher.removed
        alias = removed.stands_for(source_id) if removed.audio or removed.recordings else ""
        return self.seen.admit(source_id, split, ordinal, self._revision_number, alias)

    def judge(self, split: str, ordinal: int, row: Row) -> Outcome:
        if not self.processor.row_schema.has_audio:
            return row
        removed = self._publisher.removed
        name = removed.stands_for(row["source_id"])
        if is_refused(row):
            return Reject(name, RejectReason.REMOVED, REMOVED_FOR_GOOD, self._heard(split, row))
        if is_removed_recording(removed, row):
            known = self.seen.admit(name, split, ordinal, self._revision_number)
            return known if known is not None else Reject(name, RejectReason.REMOVED, REMOVED_FOR_GOOD)
        return self.clip_judge.judged((self.name, split), ordinal, row) if self.clip_judge else row

    def _heard(self, split: str, row: Row) -> str:
        """What a clip that is refused for its name is known by from now on, in whatever form others have it.

        "" where a clip of another name has, or had, the same recording: it was not asked for, and stays what it is.
        """
        if self._publisher.removed.leaves_recording_of(row["source_id"]):
            return ""
        other = self.clip_judge.repeated((self.name, split), dict(row)) if self.clip_judge else ""
        if other:
            log.warning("%s: a clip that was taken out is %s, which stays: nobody named that one", self.name, other)
            return ""
        recording = self._publisher.removed.line_of(recording_of(row))
        self._publisher.hear(recording)
        return recording

    def published(self, split: str) -> tuple[int, str | None]:
        books = self._publisher.committed.split(self.name, split)
        last = id_of(books.ids[-1][1], self.processor.row_schema.id_prefix) if books.ids else None
        return max(0, books.parts - 1), last

    def make_durable(self, split: str, progress: Progress) -> None:
        # The indexes first: entries ahead of the durable clips are harmless, missing ones would let a repeat through.
        self.seen.note_covered(split, progress.read, self._revision_number)
        if self.clip_judge and self.processor.row_schema.has_audio:
            self.clip_judge.note_covered((self.name, split), self.reached(split, progress))
        self.uploaders[split].make_durable(progress)

    def reached(self, split: str, progress: Progress) -> Reached:
        """How far the index of clips reaches where it has all of a split's up to `progress`."""
        return reached(self._publisher.state.sources[self.name], split, progress)

    def _declare(self) -> None:
        """Pin the revision: the state's, else the staged segments', else the newest; refuse other options."""
        rows = self.processor.row_schema
        state = self._publisher.state
        published = state.sources.get(self.name)
        staged = staged_key(self._options.staging_dir, self.name, state.generation)
        self._has_nothing = staged is None and (published is None or not has_clips(published))
        begun = published or staged
        if begun and not self._has_nothing:
            self.processor.naming = min(naming_of(begun.fingerprint), self.processor.newest_naming)
        ours = fingerprint(self._options, self.name, rows, self.processor.naming)
        pinned = begun.revision if begun else None
        if published and self._has_nothing and published.fingerprint != ours and published.row_schema is rows:
            published = None  # declared anew: what kept it from being read may have been its definition
        if begun := published or staged:
            refuse_other_fingerprint(self.name, ours, begun.fingerprint)
        self._open_begun(published, staged, pinned)
        if published is None:
            self._refuse_other_case(state.sources)
            # All splits from the start: a source of which only the first split is known would look finished.
            splits = {split: SplitState() for split in self.splits}
            declared = SourceState(str(self.processor.revision), ours, self._about(), splits, rows.name)
            self._publisher.declare(self.name, declared)
        elif self.processor.revision != published.revision:
            self._declare_newer(published)

    def _refuse_other_case(self, sources: Iterable[str]) -> None:
        """TargetRefused where the dataset has a source of this name but for case: their files may be the same ones."""
        if other := next((name for name in sources if name != self.name and name.lower() == self.name.lower()), None):
            raise TargetRefused(
                f"The dataset has a source {other}, and {self.name} differs from it in case alone: some disks take "
                "their files for the same ones. Nothing was read of it. Give it another name in its --sources file."
            )

    def _open_begun(self, published: SourceState | None, staged: StagingKey | None, pinned: str | None) -> None:
        """Open the revision to read: of a source that was finished, the newest one, unless a newer one was begun."""
        if published and published.finished and (newer_begun(staged, published) or not self._options.resume):
            self._open_pinned(staged.revision if staged and self._options.resume else None)
        else:
            self._open_pinned(pinned)

    def _open_pinned(self, revision: str | None) -> None:
        """Open the revision that was begun; of a mirror, which keeps no old ones, what is there now."""
        try:
            self._open(revision)
        except SourceChanged:
            if self.processor.keeps_revisions or not is_mirror_revision(revision):
                raise
            log.warning(
                "%s: the files in its mirror changed since it was begun. It is read again from its start; what is "
                "published or rejected already is passed over.",
                self.name,
            )
            self._open(None)

    def _open(self, revision: str | None) -> None:
        self.processor.revision = revision
        log.debug("%s: %d files at %s", self.name, len(self.processor.files.names()), self.processor.revision)

    def _declare_newer(self, published: SourceState) -> None:
        """Another revision than the published one: it is read from its start, what is published passed over."""
        log.info("%s: reading what revision %s adds to what is published", self.name, self.processor.revision)
        begun_anew = {
            name: SplitState(
                earlier=(*split.earlier, split.progress),
                pass_first_part=split.parts,
                parts=split.parts,
                published=split.published,
                ids=split.ids,
                duration_s=split.duration_s,
                size_bytes=split.size_bytes,
            )
            for name, split in published.splits.items()
        }
        splits = {**{split: SplitState() for split in self.splits}, **begun_anew}
        newer = replace(published, revision=str(self.processor.revision), about=self._about(), splits=splits)
        self._publisher.declare(self.name, newer)

    def _about(self) -> Mapping[str, Any]:
        info = self.processor.info
        if info and self._options.demo:
            info = replace(info, title=f"DEMO, made-up clips in the layout of {info.title}", repo_id=None)
        return asdict(info) if info else {}

    def _uploader(self, split: str) -> SplitUploader:
        options = self._options
        return SplitUploader(
            self._publisher,
            self.name,
            split,
            options.staging_dir,
            upload_checkpoint_path(options.checkpoint_dir, options.target_name, split, self.processor.row_schema),
            ShardLimits(options.upload_batch_size, options.max_shard_mb * 1000**2),
            DiskFloor([options.staging_dir, *([] if options.hf_repo else [options.output])], options.min_free_gb),
            self._background,
            int(options.max_staging_gb * 1000**3),
        )

    @property
    def _index_identity(self) -> str:
        """With the revision: places of clips in one that was never published mean nothing in the next."""
        return f"{self._publisher.state.generation}/{self.name}/{self.processor.revision}"

    def _fill_seen(self) -> None:
        """Make the index of source ids anew where it does not reach as far as what is published and staged."""
        number = self._revision_number
        covers_all = all(self.seen.covers(split, up.progress.read, number) for split, up in self.uploaders.items())
        if covers_all and not self._has_nothing and self.seen.is_made_from(self._publisher.ledger):
            self.seen.note_made_from(self._publisher.ledger)
            return
        self.seen.clear(self._index_identity)
        self._enter_known()

    def _enter_known(self) -> None:
        """Enter the ids of all clips that are published or staged: first let none be in between."""
        self._background.wait()
        number = self._revision_number
        for split, uploader in self.uploaders.items():
            parts = [
                part for folder in DATA_FOLDERS for part in self._publisher.published_files(folder, self.name, split)
            ]
            if parts:
                log.info("%s/%s: reading the published source ids", self.name, split)
            first_of_this_revision = self._publisher.state.split(self.name, split).pass_first_part
            for part_number, path in parts:
                table = self._publisher.target.read_columns(path, ["source_id"], self._publisher.snapshot)
                earlier = part_number < first_of_this_revision
                self.seen.add_known(table["source_id"].to_pylist(), split, 0 if earlier else number)
            for segment in uploader.staging.segments:
                self.seen.add_known(segment.source_ids(), split, number)
            self.seen.note_covered(split, uploader.progress.read, number)
        self.seen.note_made_from(self._publisher.ledger)
