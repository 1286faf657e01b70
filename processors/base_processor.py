"""BaseProcessor: how every source is read, converted, checkpointed and resumed.

A subclass says what is its own: which splits there are, how to `read` raw clips from a position and,
if it must, how to convert one. Everything else is here, once: counting, positions, checkpoints,
resume, sample mode. A processor does not know who takes its samples: it can only ask, through
`OrderedMerge`, that what it has yielded be made durable before it writes a checkpoint (law 4).

Order at every checkpoint: the consumer has taken all steps -> `merge.make_durable` -> the JSON files.
"""

import logging
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from processors.engine.conversion import as_raw_clip, complete_row, convert_clip
from processors.engine.isolated import convert_alone
from processors.engine.listed import ListedClip, NotListed
from processors.engine.read_ahead import in_order
from processors.engine.run_side import OrderedMerge, RunFacts
from processors.source_info import SourceInfo as SourceInfo
from utils import checkpoint as checkpoints
from utils.choices import AudioOptions, TextOptions
from utils.errors import IngestError, Interrupted, SourceError, Stopped
from utils.process.in_flight import TRIED
from utils.rows.ids import id_of
from utils.rows.printable import shown
from utils.rows.progress import Progress, Step
from utils.rows.schema import (
    REMOVED_FOR_GOOD,
    SPEECH,
    START,
    Outcome,
    Position,
    RawClip,
    Reject,
    RejectReason,
    Row,
    RowSchema,
    Skip,
    refused_row,
    speaker_id,
)
from utils.sources.source_files import SourceAccess, SourceFiles, open_source
from utils.sources.stand_ins import LFS_POINTER, lfs_pointer
from utils.text.normalize import normalize_transcript

log = logging.getLogger(__name__)

T = TypeVar("T")
_Result: TypeAlias = tuple[Position, Outcome]

OLD_SPLIT_NAMES: Final = {"val": "validation", "dev": "validation", "valid": "validation"}
"""What checkpoints of the old system call our splits."""


@dataclass(frozen=True)
class ProcessorConfig:
    """Where a processor finds its source and keeps its checkpoints, and how it converts."""

    checkpoint_dir: Path = Path("checkpoints")
    audio: AudioOptions = field(default_factory=AudioOptions)
    text: TextOptions = field(default_factory=TextOptions)
    access: SourceAccess = field(default_factory=SourceAccess)
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of one source (`transcripts=raw`), by name."""
    overlap: bool = False
    """Read in a thread of its own, ahead of what is converted."""
    fingerprints: bool = False
    """Whether samples carry what finds the same recording again."""
    num_workers: int = 1
    """Threads that convert, where reading and converting overlap. What comes out is the same with any number."""


class BaseProcessor(ABC):  # noqa: B024 - a subclass may override one private method alone, so nothing is abstract
    """Reads one source. Subclass it, override `read` (or, simplest, `_process_single_split`), register it."""

    name: str = ""
    """The registry name; the class name less `Processor` where it is not set."""
    info: SourceInfo | None = None
    row_schema: RowSchema = SPEECH
    """The kind of its rows. For another one than speech, override `convert_to_standard_format`."""
    is_open_ended: bool = False
    """Whether a later run may find more in a split that was read to its end: then no split is ever finished."""
    newest_naming: int = 1
    """The newest of its rules for how clips get their source ids. What was begun by an older one goes on with that."""
    options: Mapping[str, tuple[str, ...]] = {}  # noqa: RUF012
    """Its own options (`--source-option`), with the values that each may have."""

    def __init__(self, config: ProcessorConfig | Mapping[str, Any] | None = None, **fields: Any) -> None:
        self.config = _config(config, fields)
        self.name = type(self).name or type(self).__name__.removesuffix("Processor")
        self.facts = RunFacts()
        """What the run knows before a clip is read."""
        self.merge = OrderedMerge()
        """What the run decides, in the order of reading."""
        self.naming = self.newest_naming
        """The rule of those that this source was begun with."""
        self.progress: dict[str, Progress] = {}
        """How far each split is, as of the last step yielded."""
        self.revision: str | None = None
        """The revision to read; set before the first read to pin one (law 6)."""
        self.cut_short: IngestError | None = None
        """Set by a `read` that ends before its end: why. A run raises it once what was read is published."""
        self.bytes_read_again = 0
        """Of source files, from where each split was resumed to its first new clip."""
        self._files: SourceFiles | None = None
        self._current_split = "train"
        self._sample: tuple[bool, int] = (False, 5)
        """Whether, and how large, a sample was asked for: what `_process_single_split` is told."""
        self._kept_elsewhere = 0
        """Of the samples that a checkpoint counts, those that no split's progress has: IDs go on behind them."""

    # --- what a source overrides -------------------------------------------------------------

    def get_available_splits(self) -> list[str]:
        """The splits, in the order in which they are read: evaluation splits first."""
        return ["test", "validation", "train"]

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        """The clips of a split from `position` on, each with the position after it, always in the same order.

        A position may have only `index` (from an old checkpoint): then that many clips are passed over.
        Raises SourceError where the source can't be read.
        """
        raise NotImplementedError(f"{type(self).__name__} must override read() or _process_single_split()")

    def listed(self, split: str, scratch: Path, deep: bool) -> Iterator[ListedClip]:
        """Every clip of a split, in the order in which it is read, by a way of its own: it shares no loop and no index
        with `read`, so that `--verify --source` sees what that overlooked.

        `scratch` is a folder for its indexes; `deep`: files may be read whole for it. Raises NotListed where there is
        no such way, SourceError where the source can't be read.
        """
        raise NotListed("its processor can't name its clips but by reading them")

    @property
    def lists_what_it_reads(self) -> bool:
        """Whether `listed` is of the class that says how clips are read, or of one made from it."""
        classes = type(self).__mro__

        def first_with(method: str) -> int:
            return next(at for at, one in enumerate(classes) if method in vars(one))

        return first_with("listed") <= min(first_with("read"), first_with("_process_single_split"))

    def check_can_be_read(self) -> None:
        """Look whether there is a source to read, before anything is begun. Raises SourceError; changes nothing."""
        self.files.names()

    def expected_clips(self, split: str) -> int | None:
        """How many clips `read` yields from the start of a split, about, where that is cheap to tell; for the ETA."""
        return None

    def checkpoint_details(self) -> Mapping[str, Any]:
        """What else the unified checkpoint shows of a source, for people and tools. Nothing is decided by it."""
        return {}

    def load_split_data(self, split: str) -> Iterator[Any]:
        """The raw clips of a split, from its start."""
        return self.read(split, dict(START))

    def convert_to_standard_format(self, sample: RawClip | Mapping[str, Any]) -> Row | Reject:
        """One raw clip as a row of the dataset, or the reject that says why not. Never raises for a bad clip.

        Besides a `RawClip` it takes a mapping with `audio` (bytes, a path, or `{bytes|path|array,
        sampling_rate}`), `transcript` (or `sentence`, `text`), and if it has them `id`, `speaker_id`.
        The ID is empty: it is given when the sample is published. Pure: any number of threads may call it at once;
        one that is overridden is called by one thread at a time.
        """
        config = self.config
        clip, split = as_raw_clip(sample), self._current_split
        return convert_clip(clip, self.name, split, config.audio, config.text, config.fingerprints)

    def _process_single_split(
        self,
        split: str,
        checkpoint: Mapping[str, Any] | None = None,
        sample_mode: bool = False,
        sample_size: int = 5,
    ) -> Iterator[Outcome]:
        """The outcomes of a split from its start. A subclass that overrides only this resumes by counting."""
        for _, outcome in self._read_and_convert(split, Progress()):
            yield outcome

    # --- reading -----------------------------------------------------------------------------

    @property
    def files(self) -> SourceFiles:
        """The source's files, opened at first use; pins `revision`."""
        if self._files is None:
            if self.info is None:
                raise SourceError(f"{self.name} has no description (`info`), so its files can't be found.")
            self._files = self.open_files(self.info)
            self.revision = self._files.revision
        return self._files

    def open_files(self, info: SourceInfo) -> SourceFiles:
        """The source's files at `revision`, the newest where that is None."""
        return open_source(info.mirror, info.repo_id, self.config.access, self.revision)

    @property
    def keeps_revisions(self) -> bool:
        """Whether the place it is read from still has what it once held: a repo has, a folder has not."""
        return self.config.access.source_dir is None

    def close(self) -> None:
        """Fetch nothing more of the source."""
        if self._files is not None:
            self._files.close()

    def raise_if_stopped(self) -> None:
        """Raise Interrupted where a stop was requested: for a `read` that is long about it before it yields a clip."""
        if self.config.access.stop_requested():
            raise Interrupted("Stopped on request, after a clean checkpoint.")

    def process_split(
        self,
        split: str,
        start: Progress,
        *,
        sample_size: int | None = None,
        checkpoint_interval: int = 1000,
    ) -> Iterator[Step]:
        """The steps of one split after `start`, with a checkpoint every `checkpoint_interval` clips read.

        Checkpoints too at the split's end, on any error, which is then raised, and when a stop was requested (then
        raises Interrupted). `sample_size` ends the split after that many samples kept.
        """
        if start.read:
            log.debug("%s/%s: going on behind clip %d", self.name, split, start.read)
        self.progress[split] = progress = saved = start
        try:
            enough = sample_size is not None and start.kept >= sample_size
            for position, outcome in () if enough else self._outcomes(split, start):
                if isinstance(outcome, dict):
                    outcome = self.merge.judge(split, progress.read + 1, outcome)  # noqa: PLW2901
                if isinstance(outcome, Reject) and outcome.detail == LFS_POINTER and not progress.kept:
                    raise lfs_pointer(f"The clip {outcome.source_id}")  # and so are those behind it
                self.progress[split] = progress = progress.after(position, outcome)
                yield Step(progress, outcome)
                if sample_size is not None and progress.kept >= sample_size:
                    break
                self.raise_if_stopped()
                if progress.read - saved.read >= checkpoint_interval:
                    saved = progress
                    self._checkpoint(split)
            self.progress[split] = replace(progress, finished=not self.is_open_ended)
        except (SourceError, Stopped, Interrupted):
            self._checkpoint(split)
            raise
        except Exception:
            if progress is not saved:  # else it may be the very checkpoint that failed
                with suppress(Exception):  # what went wrong first is what is told
                    self._checkpoint(split)
            raise
        self._checkpoint(split)

    def process_all_splits(
        self,
        checkpoint: Mapping[str, Any] | str | Path | None = None,
        sample_mode: bool = False,
        sample_size: int = 5,
        checkpoint_interval: int = 1000,
    ) -> Iterator[Row]:
        """The standard samples of all splits, in order, resuming after `checkpoint` (a dict or a file).

        IDs are provisional: S1, S2, ... within this processor. Rejects are counted in `progress`.
        """
        loaded = self._loaded(checkpoint)
        starts, to_skip = self._starts(loaded)
        kept = sum(start.kept for start in starts.values())
        self._kept_elsewhere = int(loaded["samples_processed"]) - kept if loaded and starts else 0
        self._sample = sample_mode, sample_size
        splits = self.get_available_splits()
        quotas = sample_quotas(splits, sample_size) if sample_mode else {}
        self.progress = dict(starts)
        for split in splits:
            start = starts.get(split, Progress())
            if start.finished or quotas.get(split) == 0:
                continue
            steps = self.process_split(
                split, start, sample_size=quotas.get(split), checkpoint_interval=checkpoint_interval
            )
            for step in steps:
                if not isinstance(step.outcome, dict):
                    continue
                if to_skip:
                    to_skip -= 1
                    continue
                step.outcome["ID"] = id_of(self._samples_kept(), self.row_schema.id_prefix)
                yield step.outcome

    def _outcomes(self, split: str, start: Progress) -> Iterator[tuple[Position, Outcome]]:
        """What becomes of each clip after `start`, with the position after it."""
        self._current_split = split
        overridden = type(self)._process_single_split is not BaseProcessor._process_single_split
        if overridden:
            return self._noting_what_is_read_again(self._outcomes_by_count(split, start), start)
        return self._read_and_convert(split, start)

    def _noting_what_is_read_again(self, read: Iterator[T], start: Progress) -> Iterator[T]:
        """What is read behind `start`, as it is: around the reading itself, which may run ahead of the rest."""
        before = self._bytes_read()
        try:
            first = next(read, None)
        finally:
            self.bytes_read_again += self._bytes_read() - before if start.read else 0
        if first is not None:
            yield first
        yield from read

    def _bytes_read(self) -> int:
        return self._files.bytes_read if self._files else 0

    def _read_and_convert(self, split: str, start: Progress) -> Iterator[tuple[Position, Outcome]]:
        self._current_split = split
        clips = enumerate(self.read(split, start.position), start=start.read + 1)
        numbered = self._noting_what_is_read_again(clips, start)
        if not self.config.overlap:
            for ordinal, clip in numbered:
                prepared = self._prepared(split, (ordinal, clip))
                yield prepared() if callable(prepared) else prepared
            return
        # Another's code may count on being called by one thread.
        workers = self.config.num_workers if self._converts_as_all_do() else 1
        yield from in_order(numbered, _audio_bytes, partial(self._prepared, split), workers)

    def _prepared(self, split: str, numbered: tuple[int, RawClip]) -> "_Result | Callable[[], _Result]":
        """What becomes of a clip where no audio is needed to tell, else what converts it."""
        ordinal, clip = numbered
        outcome = self._admitted(clip, split, ordinal)
        if outcome is not None and not self._is_to_be_heard(outcome):
            return clip.position, outcome
        return lambda: (clip.position, self._heard(clip, split, outcome))

    def _is_to_be_heard(self, outcome: Outcome) -> bool:
        """Whether a clip is refused as it was taken out: others may have its recording, so it is converted as any, and
        refused when its turn comes (`OrderedMerge.judge`)."""
        return isinstance(outcome, Reject) and outcome.reason == RejectReason.REMOVED and self.row_schema.has_audio

    def _heard(self, clip: RawClip, split: str, refused: Outcome | None) -> Outcome:
        """The row of a clip, or its reject; of one that was taken out as if it were not, where it can be converted."""
        outcome = self._converted(clip, split)
        if refused is None:
            return outcome
        return refused_row(outcome) if isinstance(outcome, dict) else refused

    def _converted(self, clip: RawClip, split: str) -> Row | Reject:
        source_id = f"{self.name}/{split}/{clip.key}"
        crashes = self.facts.in_flight.crashes_at(source_id)
        if crashes and self._converts_as_all_do():
            return convert_alone(clip, self.name, split, self.config.audio, self.config.text)
        if crashes >= TRIED:
            # A source's own code can't be tried elsewhere; but one thread at a time runs it, so it was this clip.
            return Reject(source_id, RejectReason.DECODER_CRASHED, "two runs died while its source's code converted it")
        return self.facts.in_flight.during(source_id, partial(self.convert_to_standard_format, clip))

    def _converts_as_all_do(self) -> bool:
        return type(self).convert_to_standard_format is BaseProcessor.convert_to_standard_format

    def _admitted(self, clip: RawClip, split: str, ordinal: int) -> Skip | Reject | None:
        """None for a clip that is to be converted."""
        if not clip.selected:
            return Skip.UNSELECTED
        return self._refused(f"{self.name}/{split}/{clip.key}", self._speakers_of(clip), split, ordinal)

    def _speakers_of(self, clip: RawClip) -> tuple[str | None, ...]:
        """The id of a clip's speaker; where some were taken out, that of the name's normal form, too: it is listed with
        any spelling of the name."""
        if clip.speaker and self.facts.removed:
            normal = normalize_transcript(clip.speaker)
            return speaker_id(self.name, clip.speaker), speaker_id(self.name, normal)
        return (speaker_id(self.name, clip.speaker),)

    def _refused(
        self, source_id: str, speakers: tuple[str | None, ...], split: str, ordinal: int
    ) -> Skip | Reject | None:
        """What a clip is instead of a sample, for its names alone; None where they say nothing against it."""
        removed = self.facts.removed
        name = removed.stands_for(source_id) if removed and removed.means(source_id, *speakers) else None
        known = self.merge.admit(name or source_id, split, ordinal)
        if known is None and name is not None:
            return Reject(name, RejectReason.REMOVED, REMOVED_FOR_GOOD)
        return known

    def _outcomes_by_count(self, split: str, start: Progress) -> Iterator[tuple[Position, Outcome]]:
        """Outcomes of a subclass that overrides `_process_single_split`: its position is the count of its outcomes."""
        # It always starts at the beginning: what it does with a checkpoint of its own can't be known, and
        # skipping twice would lose clips.
        for ordinal, outcome in enumerate(self._process_single_split(split, None, *self._sample), start=1):
            if ordinal <= start.read:
                continue
            if not isinstance(outcome, (dict, Reject, Skip)):
                raise TypeError(f"{type(self).__name__}._process_single_split yielded {type(outcome).__name__}")
            yield {"index": ordinal}, self._named(outcome, split, ordinal)

    def _named(self, outcome: Outcome, split: str, ordinal: int) -> Outcome:
        """The outcome with a source id (its place in the split where the source gives none), checked for repeats."""
        if isinstance(outcome, Skip):
            return outcome
        if isinstance(outcome, dict) and self.row_schema is SPEECH and not set(SPEECH.columns) <= outcome.keys():
            outcome = complete_row(outcome, self.name, split, self.config.audio, self.config.text)
        given = outcome.source_id if isinstance(outcome, Reject) else outcome["source_id"]
        source_id = f"{given}{ordinal - 1}" if given.endswith("/") else given
        speaker = outcome.get("speaker_id") if isinstance(outcome, dict) else None
        known = self._refused(source_id, (str(speaker),) if speaker else (), split, ordinal)
        if known is not None and isinstance(outcome, dict) and self._is_to_be_heard(known):
            outcome = refused_row(outcome)
        elif known is not None:
            return known
        if isinstance(outcome, Reject):
            return replace(outcome, source_id=source_id)
        outcome["source_id"] = source_id
        return outcome

    # --- checkpoints -------------------------------------------------------------------------

    def save_unified_checkpoint(
        self,
        samples_processed: int,
        current_split: str | None = None,
        split_index: int = 0,
        shard_num: int = 0,
        last_sample_id: str | None = None,
        processed_ids: Any = (),
        dataset_specific: Mapping[str, Any] | None = None,
    ) -> str:
        """Write `checkpoints/{name}_unified_checkpoint.json` and one for the history; returns the former's path."""
        content = checkpoints.unified(
            type(self).__name__,
            samples_processed,
            current_split,
            split_index,
            shard_num=shard_num,
            last_sample_id=last_sample_id,
            processed_ids=processed_ids,
            dataset_specific=dataset_specific,
        )
        return str(checkpoints.save_checkpoint(Path(self.config.checkpoint_dir), self.name, content))

    def load_unified_checkpoint(self, path: str | Path | None = None) -> dict[str, Any] | None:
        """The checkpoint in `path`, or the latest sound one of this source; older formats are converted.

        None where no path is given and there is none. Raises DamagedCheckpoint.
        """
        if path is not None:
            return checkpoints.load_checkpoint(Path(path))
        return checkpoints.load_latest(Path(self.config.checkpoint_dir), self.name)

    def _checkpoint(self, split: str) -> None:
        progress = self.progress[split]
        self.merge.make_durable(split, progress)
        kept = self._samples_kept()
        newest = range(max(1, kept - checkpoints.MAX_LISTED_IDS + 1), kept + 1)
        shard, last = self.merge.published(split)
        provisional = id_of(kept, self.row_schema.id_prefix) if kept else None
        self.save_unified_checkpoint(
            kept,
            current_split=split,
            split_index=progress.read,
            shard_num=shard,
            last_sample_id=last or provisional,
            processed_ids=[id_of(number, self.row_schema.id_prefix) for number in newest],
            dataset_specific={
                **self.checkpoint_details(),
                "position": progress.position,
                "revision": self.revision,
                "splits": checkpoints.splits_as_json(self.progress),
            },
        )

    def _samples_kept(self) -> int:
        return self._kept_elsewhere + sum(progress.kept for progress in self.progress.values())

    def _loaded(self, checkpoint: Mapping[str, Any] | str | Path | None) -> Mapping[str, Any] | None:
        return self.load_unified_checkpoint(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint

    def _starts(self, checkpoint: Mapping[str, Any] | None) -> tuple[dict[str, Progress], int]:
        """Where each split starts after a checkpoint, and how many samples to pass over besides."""
        if checkpoint is None:
            return {}, 0
        exact = checkpoints.progress_by_split(checkpoint)
        if exact:
            return exact, 0
        current = checkpoint.get("current_split")
        splits = self.get_available_splits()
        if current not in splits:
            current = OLD_SPLIT_NAMES.get(str(current), current)
        if current is None:  # only a count is known: pass over that many samples
            return {}, int(checkpoint["samples_processed"])
        if current not in splits:
            raise checkpoints.DamagedCheckpoint(
                f"The checkpoint is in split {shown(current)!r}; {self.name} has {', '.join(splits)}."
            )
        # The file says how far that split was read, and nothing of the others: they are read from their start.
        return {current: counted_progress(int(checkpoint["split_index"]))}, 0


def _audio_bytes(numbered: tuple[int, RawClip]) -> int:
    return len(numbered[1].audio or b"")


def counted_progress(index: int) -> Progress:
    """The progress that a bare count stands for: that many clips read, all kept as far as is known."""
    return Progress(position={"index": index}, read=index, kept=index)


def sample_quotas(splits: list[str], sample_size: int) -> dict[str, int]:
    """`sample_size` samples spread over the splits: one in five to each evaluation split, the rest to train."""
    others = [split for split in splits if split != "train"]
    if "train" not in splits:
        return {split: sample_size // len(others) + (i < sample_size % len(others)) for i, split in enumerate(others)}
    each = max(1, sample_size // 5)
    quotas = {}
    left = sample_size - 1  # train has at least one
    for split in others:
        quotas[split] = min(each, max(left, 0))
        left -= quotas[split]
    return {**quotas, "train": sample_size - sum(quotas.values())}


def _config(config: ProcessorConfig | Mapping[str, Any] | None, given: Mapping[str, Any]) -> ProcessorConfig:
    """A configuration from an object, a plain mapping (keys that are not ours are the source's own) or keywords."""
    if isinstance(config, ProcessorConfig):
        return replace(config, **given)
    own = {field.name for field in fields(ProcessorConfig)}
    merged = {**(config or {}), **given}
    known = {key: value for key, value in merged.items() if key in own}
    if "checkpoint_dir" in known:
        known["checkpoint_dir"] = Path(known["checkpoint_dir"])
    return ProcessorConfig(**known)
