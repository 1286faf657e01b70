"""A run: the named sources, in the order that keeps test clips out of train, into the target.

All test and validation splits first, then the train splits; registry order inside. A source that can't
be read does not stop the others; its splits are left for the next `--resume`.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.run.factory import processor_config
from pipeline.run.known_clips import dedup_of, open_judge
from pipeline.run.preflight import (
    check_sample_rate,
    keep_demo_apart,
    reachable,
    refuse_restricted_terms,
    refuse_to_mix,
    refuse_unreadable_sources,
)
from pipeline.run.source_run import SourceRun, fingerprint, has_clips, naming_of, newer_begun
from pipeline.terminal.logs import LOG_FILE_ONLY
from pipeline.terminal.progress_bar import SplitBar
from processors import OwnSources, create, describe, source_name
from processors.base_processor import BaseProcessor, SourceInfo
from utils.checkpoint import history, is_of_this_version, latest_path, load_checkpoint, progress_by_split
from utils.dataset.hub_repo import HubTarget
from utils.dataset.state import SourceState, State
from utils.dataset.target import Target
from utils.disk.durable import fsync_folder, remove, rename_aside, sweep_temporaries, write_atomically
from utils.errors import IngestError, Interrupted, SourceError, Stopped, UsageError
from utils.process.in_flight import InFlight
from utils.process.memory import keep_freed_memory
from utils.rows.progress import Progress, SplitOfSource
from utils.rows.schema import ROW_SCHEMAS
from utils.upload.background import BackgroundWorker
from utils.upload.publisher import Publisher, open_publisher
from utils.upload.segments import StagingKey, staged_key
from utils.upload.staging import Staging, refuse_other_fingerprint
from utils.upload.upload_checkpoint import upload_checkpoint_path

log = logging.getLogger(__name__)

SPLIT_ORDER = ("test", "validation", "train")


@dataclass
class RunResult:
    """What a run did, for the summary."""

    state: State
    splits: dict[SplitOfSource, Progress] = field(default_factory=dict)
    """Progress of each split that this run knows of, staged clips included."""
    reasons: dict[SplitOfSource, Counter[str]] = field(default_factory=dict)
    """Reject reasons of the clips that this run read or found staged."""
    without_audio: set[str] = field(default_factory=set)
    """Sources of this run whose rows have no audio."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Sources of `--all` that somebody has to fetch first: how they are reached, and the page to visit."""
    failures: dict[str, str] = field(default_factory=dict)
    """Sources that could not be read: what happened and what to do."""
    read_again_bytes: int = 0
    """Of the sources: what a resume had to read before it came to a new clip."""
    rows_before: int = 0
    """Rows of the dataset when the run began."""
    nothing_to_do: bool = False
    interrupted: bool = False


def run(
    options: Options, target: Target, token: str | None, stop: StopRequest, in_flight: InFlight | None = None
) -> RunResult:
    """Read the sources into the target. Raises the errors of utils/errors.py; staged work is kept whatever happens.

    `in_flight` knows the clips that crashed an earlier run, and is told of those that are converted.
    """
    checkpoint = _checkpoint_of_this_run(options)
    asked, options = options, replace(options, sources=reachable(options))
    if isinstance(target, HubTarget):
        target.require_token()
    with target.lock():
        mark = _fresh_mark(options)
        before = mark.read_bytes() if mark.exists() else None
        begins = _is_to_begin(options, target)
        with _forgetting_what_was_refused(mark, before):
            refuse_restricted_terms(options, target)
            if begins:
                refuse_unreadable_sources(options, token, stop)
            if isinstance(target, HubTarget):
                target.open()
            sweep_temporaries(options.staging_dir, alone=True)
            if begins:
                _note_fresh(options, target.head())
            sweep_temporaries(options.checkpoint_dir, alone=False)
        publisher = open_publisher(target, begins, options.published_rate_hz)
        newly = _is_newly_begun(options, begins, target)
        if begins:
            archive_local(options, time.localtime())
        if newly or publisher.committed.sequence == 0:
            _note_begun_here(options, publisher.state)
        elif options.fresh:
            log.info(
                "--fresh --resume goes on with the dataset in %s: %d rows, last added to at %s",
                *(options.target_name, publisher.state.rows, publisher.state.committed_at),
            )
            refuse_to_mix(asked, publisher.state, _is_begun_here(options, publisher.state))
        # What was begun and can't be reached any more is not left out without a word: it fails.
        unfinished = [name for name, source in publisher.state.sources.items() if not source.finished]
        begun = {*options.sources, *unfinished}
        options = replace(options, sources=tuple(name for name in asked.sources if name in begun))
        check_sample_rate(options, publisher.state)
        keep_demo_apart(options, publisher.state)
        options = replace(options, dedup=dedup_of(options, publisher.state))
        keep_freed_memory()
        rows_before = publisher.state.rows
        result = _Run(options, publisher, token, stop, checkpoint, newly, in_flight or InFlight()).all()
        result.rows_before = rows_before
        result.left_out = {
            name: f"{_how_to_get(info, options)}; see {info.url}"
            for name in asked.sources
            if name not in options.sources and (info := describe(name, options.own_sources))
        }
        return result


def _how_to_get(info: SourceInfo, options: Options) -> str:
    return f"no folder {options.source_dir / info.mirror}" if options.source_dir else info.access


def _is_to_begin(options: Options, target: Target) -> bool:
    """Whether a new generation is to begin: `--fresh`, or the resume of a `--fresh` that died before it could.

    That it is asked for is made durable here, before anything that takes time: whatever dies from now on, its resume
    does not go on with the old dataset.
    """
    if not options.fresh:
        return False
    if options.resume:
        mark = _fresh_mark(options)
        # Who died before anything was looked at may have died before the target was there: it has no head, then.
        since = mark.read_text() if mark.exists() else None
        return since == _NOT_LOOKED or (since is not None and since == target.head())
    _note_fresh(options, _NOT_LOOKED)
    return True


@contextmanager
def _forgetting_what_was_refused(mark: Path, before: bytes | None) -> Iterator[None]:
    """An error before anything was changed takes the wish to begin anew with it; an earlier one, of a dataset that was
    begun and not opened yet, stays."""
    try:
        yield
    except IngestError:
        with suppress(OSError):
            if before is not None:
                write_atomically(mark, before)
            elif mark.exists():
                remove(mark)
        raise


def _note_fresh(options: Options, head: str) -> None:
    mark = _fresh_mark(options)
    try:
        write_atomically(mark, head.encode())
    except OSError as error:
        raise Stopped(
            f"The new dataset could not be begun: {mark.parent} can't be written ({error.strerror}). Nothing was "
            "changed. Mend that, then repeat this command."
        ) from error


def _is_newly_begun(options: Options, begins: bool, target: Target) -> bool:
    """Whether this run opens the sources of a new generation for the first time: begun by it, or by one that died."""
    mark = _fresh_mark(options)
    return begins or (mark.exists() and mark.read_text() not in (_NOT_LOOKED, target.head()))


def _fresh_mark(options: Options) -> Path:
    """Holds the target's head as it was when a fresh start was asked for, until its sources are open."""
    return options.staging_dir / "fresh-since"


_NOT_LOOKED = "not looked at yet"
"""In place of the head: a fresh start that died this early has begun nothing."""


def _begun_here(options: Options) -> Path:
    """Names the generation that a fresh start on this machine has begun last."""
    return options.staging_dir / "begun-here"


def _note_begun_here(options: Options, state: State) -> None:
    write_atomically(_begun_here(options), state.generation.encode())


def _is_begun_here(options: Options, state: State) -> bool:
    path = _begun_here(options)
    return path.exists() and path.read_text() == state.generation


@dataclass(frozen=True)
class GivenCheckpoint:
    """A checkpoint file that the user named: never believed, only held against what is durable."""

    path: Path
    source: str
    samples: int
    splits: int


def _checkpoint_of_this_run(options: Options) -> GivenCheckpoint | None:
    """The file of `--checkpoint`, understood before anything is touched. UsageError where it is of no use here."""
    if options.checkpoint is None:
        return None
    content = load_checkpoint(options.checkpoint)
    source = _source_of(content["processor"], options.checkpoint, options.sources, options.own_sources)
    if source not in options.sources:
        raise UsageError(
            f"Checkpoint {options.checkpoint} is of {source}, which this command does not name. Nothing was changed."
        )
    return GivenCheckpoint(
        options.checkpoint, source, int(content["samples_processed"]), len(progress_by_split(content))
    )


class _Run:
    def __init__(
        self,
        options: Options,
        publisher: Publisher,
        token: str | None,
        stop: StopRequest,
        checkpoint: GivenCheckpoint | None,
        is_newly_begun: bool,
        in_flight: InFlight,
    ) -> None:
        self._in_flight = in_flight
        self._options = options
        self._is_newly_begun = is_newly_begun
        self._publisher = publisher
        self._token = token
        self._stop = stop
        self._checkpoint = checkpoint
        self._background = BackgroundWorker(
            options.overlap and (options.num_workers > 1 or options.hf_repo is not None)
        )
        self._result = RunResult(publisher.state)
        self._sequence_before = publisher.committed.sequence

    def all(self) -> RunResult:
        with ExitStack() as opened:
            sources = self._open_all(opened)
            if self._checkpoint:
                self._report(self._checkpoint, sources.get(self._checkpoint.source))
            try:
                with (
                    open_judge(self._options, self._publisher, tuple(sources.values())) as judge,
                    self._background,
                ):
                    for source in sources.values():
                        source.clip_judge = judge
                    self._read_all(sources)
                    self._background.wait()
                if self._publisher.committed.sequence != self._sequence_before:
                    self._publisher.refuse_missing_files()  # somebody may have moved the target away meanwhile
            except Interrupted:
                self._result.interrupted = True
        self._settle(sources)
        return self._result

    def _read_all(self, sources: Mapping[str, SourceRun]) -> None:
        for split in SPLIT_ORDER:
            for source in sources.values():
                if split in source.splits and source.name not in self._result.failures:
                    self._attempt(source.name, partial(self._read, source, split))

    def _open_all(self, opened: ExitStack) -> dict[str, SourceRun]:
        """The sources that there is something to do for; `opened` closes them."""
        sources: dict[str, SourceRun] = {}
        for leftover in (self._options.staging_dir / "built").glob("*.parquet"):
            remove(leftover)  # of a run that died after building; a part is always built anew
        for name in self._options.sources:
            if self._publisher.removed.has_source(name):
                log.warning("%s was taken out of this dataset (--remove) and is not collected again: passed over", name)
                continue
            published = self._publisher.state.sources.get(name)
            if published and self._is_done(name, published):
                log.info("%s is finished: nothing to do", name)
                continue
            self._attempt(name, partial(self._open_into, sources, name, opened))
        self._forget_fresh_mark()  # only now: a new collection was to be begun, too
        return sources

    def _forget_fresh_mark(self) -> None:
        """For good, before anything is bought: came it back, a resume would begin one more collection beside it."""
        mark = _fresh_mark(self._options)
        if mark.exists():
            remove(mark)
            fsync_folder(mark.parent)

    def _is_done(self, name: str, published: SourceState) -> bool:
        """Whether a source needs no look: a resume does not go looking for newer revisions."""
        staged = staged_key(self._options.staging_dir, name, self._publisher.state.generation)
        if not (self._options.resume and published.finished) or newer_begun(staged, published):
            return False
        ours = fingerprint(self._options, name, published.row_schema, naming_of(published.fingerprint))
        if ours != published.fingerprint and not has_clips(published):
            return False  # no clip was found: perhaps its definition was wrong, and is mended now
        refuse_other_fingerprint(name, ours, published.fingerprint)
        self._tidy(name, published)
        return True

    def _tidy(self, name: str, published: SourceState) -> None:
        """Delete the segments of a finished source: of a run that died right after its last commit."""
        for split, known in published.splits.items():
            state = self._publisher.state
            key = StagingKey(
                state.generation, name, split, published.revision, published.fingerprint, state.list_of_removed
            )
            Staging(self._options.staging_dir, key).recover(known.progress)

    def _open_into(self, sources: dict[str, SourceRun], name: str, opened: ExitStack) -> None:
        _keep_older_checkpoint(latest_path(self._options.checkpoint_dir, name))
        config = processor_config(self._options, name, self._token, self._stop, self._is_newly_begun)
        processor = create(name, config, self._options.own_sources)
        try:
            sources[name] = SourceRun(processor, self._publisher, self._options, self._background, self._in_flight)
        except BaseException:
            processor.close()
            raise
        opened.callback(sources[name].close)

    def _attempt(self, source: str, action: Callable[[], None]) -> None:
        """Run `action`; a source that can't be read is noted, and the run goes on with the others."""
        try:
            action()
        except SourceError as error:
            if error.exit_code != SourceError.exit_code:
                raise
            log.error("%s could not be read; others go on. The end says why", source)
            log.error("%s could not be read: %s", source, error, extra=LOG_FILE_ONLY)
            self._result.failures[source] = str(error)

    def _read(self, source: SourceRun, split: str) -> None:
        uploader = source.uploaders[split]
        count = partial(_expected_clips, source.processor, split)
        shown = not self._options.quiet
        rows = source.processor.row_schema
        with SplitBar(f"{source.name}/{split}", uploader.progress.read, count, shown, rows) as bar:
            source.read_split(split, lambda step: bar.add(step, self._publisher.bytes_published))

    def _report(self, checkpoint: GivenCheckpoint, source: SourceRun | None) -> None:
        """Say how the checkpoint compares with what is published and staged. Reading goes on from the latter."""
        where = f"{checkpoint.samples} samples" + (f" in {checkpoint.splits} splits" if checkpoint.splits else "")
        if source is None:
            log.info("Checkpoint %s tells of %s; %s is finished already", checkpoint.path, where, checkpoint.source)
            return
        ours = sum(uploader.progress.kept for uploader in source.uploaders.values())
        if checkpoint.samples > ours:
            log.warning(
                "Checkpoint %s tells of %s, but only %d are published or staged: it is ahead of what is durable. "
                "Reading goes on from what is durable, so that nothing is left out.",
                *(checkpoint.path, where, ours),
            )
        else:
            log.info(
                "Checkpoint %s tells of %s; %d are published or staged, reading goes on there",
                *(checkpoint.path, where, ours),
            )

    def _settle(self, sources: Mapping[str, SourceRun]) -> None:
        result = self._result
        result.state = self._publisher.committed
        for source in sources.values():
            if not source.processor.row_schema.has_audio:
                result.without_audio.add(source.name)
            result.read_again_bytes += source.processor.bytes_read_again
            for split, uploader in source.uploaders.items():
                result.splits[source.name, split] = uploader.progress
                result.reasons[source.name, split] = uploader.reject_reasons
        unchanged = self._publisher.committed.sequence == self._sequence_before
        result.nothing_to_do = unchanged and not result.failures and not result.interrupted


def _keep_older_checkpoint(path: Path) -> None:
    """Put a checkpoint of an older program away, which ours would overwrite: it may be all that is left of its run."""
    if path.exists() and not is_of_this_version(path):
        kept = rename_aside(path, path.parent / "archive" / "of-an-older-version" / path.name)
        log.warning("%s was not written by this program: it is kept as %s. Nothing is read from it.", path, kept)


def _expected_clips(processor: BaseProcessor, split: str) -> int | None:
    """For the bar, so only on a terminal: what can't be read is told when it is read, as anywhere else."""
    with suppress(SourceError):
        return processor.expected_clips(split)
    return None


def archive_local(options: Options, now: time.struct_time) -> None:
    """After a fresh start: what an older generation left here is put away; `--prune` has the last word on it."""
    place = f"before-fresh-{time.strftime('%Y%m%d-%H%M%S', now)}"
    staged = [path for path in options.staging_dir.glob("*") if path.name not in ("lock", _fresh_mark(options).name)]
    mirrors = [
        path
        for name in options.sources
        for path in (latest_path(options.checkpoint_dir, name), *history(options.checkpoint_dir, name))
    ]
    uploads = [
        upload_checkpoint_path(options.checkpoint_dir, options.target_name, split, rows)
        for split in SPLIT_ORDER
        for rows in ROW_SCHEMAS.values()
    ]
    for path in sorted(staged):
        rename_aside(path, options.data_dir / "staging" / "archive" / place / options.staging_dir.name / path.name)
    for path in filter(Path.exists, [*mirrors, *uploads]):
        with suppress(FileNotFoundError):  # a run with another target may put the same mirror away
            rename_aside(path, options.checkpoint_dir / "archive" / place / path.name)


def _source_of(processor: str, path: Path, named: tuple[str, ...], own: OwnSources) -> str:
    """The source that a checkpoint is of: its `processor` field says, else the run has only one, else its name."""
    if processor:
        return source_name(processor.removesuffix("Processor"), own)
    return named[0] if len(named) == 1 else source_name(path.stem.split("_")[0], own)
