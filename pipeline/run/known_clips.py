"""The index of clips in a run: which mode a dataset has, and that the index holds just what is published and staged.

Where it does not (another machine, a deleted file, a dataset that somebody else added to, or of which a backup was put
back), it is made anew: published clips from the index files of their shards, or else from the shards; then the staged
ones. Those were judged when they were read, by what this machine knew then. So they are judged once more, and where one
repeats what was published meanwhile, its segment is set aside and its clips are read again. So is a segment in which a
clip was refused as the duplicate of one that is neither published nor staged any more: of a source that was stopped
before its first commit, say, and is not read on.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.options import Options
from pipeline.run.source_run import SourceRun, reached
from processors import MADE_FROM
from utils.audio.standardize import audio_fingerprint
from utils.choices import DEDUP_KEY, DEFAULT_DEDUP, Dedup, begun_with
from utils.dataset.layout import index_path, parse_part_path
from utils.dataset.ledger import FileRecord
from utils.dataset.state import State
from utils.errors import TargetRefused
from utils.known.clips import ClipIndex, Entry, Reached
from utils.known.judge import Judge, entry_of, repeated_clip
from utils.rows.progress import SplitOfSource
from utils.rows.schema import SPEECH, SPLITS, RejectReason
from utils.upload.publisher import Publisher
from utils.upload.segments import Segment, read_segments
from utils.upload.shard_index_files import from_bytes, staged_entries
from utils.upload.split_uploader import SplitUploader
from utils.upload.staging import refuse_other_fingerprint

log = logging.getLogger(__name__)

FILE_NAME = "clips.sqlite"

_OTHERS: SplitOfSource = ("", "staged of other sources")
"""Where the index has what this run does not read: entered anew whenever it is opened."""


def dedup_of(options: Options, state: State) -> Dedup:
    """The mode of a dataset: that which it was begun with. TargetRefused where another one is asked for."""
    try:
        begun = {begun_with(source.fingerprint) for source in state.sources_of(SPEECH).values() if source.fingerprint}
    except ValueError as error:
        raise TargetRefused(
            f"This dataset was begun by a later version of this program ({error}). Use that."
        ) from error
    mode = begun.pop() if begun else options.dedup or DEFAULT_DEDUP
    if options.dedup not in (None, mode):
        refuse_other_fingerprint("This dataset", {DEDUP_KEY: str(options.dedup)}, {DEDUP_KEY: str(mode)})
    if mode is not DEFAULT_DEDUP and options.dedup is None:
        log.info("This dataset was begun with --dedup %s, and goes on with it", mode)
    return mode


def warn_of_pairs(mode: Dedup, names: Iterable[str]) -> None:
    """Say it where sources of a dataset are known to share recordings that this mode does not find."""
    if mode is not Dedup.NEAR:
        known = set(names)
        for made, origin in MADE_FROM.items():
            if {made, origin} <= known:
                log.warning(
                    "%s is made from %s: the same recordings, encoded again. With --dedup %s they come twice.",
                    *(made, origin, mode),
                )


@contextmanager
def open_judge(options: Options, publisher: Publisher, sources: Sequence[SourceRun]) -> Iterator[Judge | None]:
    """Who knows a clip that the dataset has already; None where nobody asks."""
    mode = options.dedup or DEFAULT_DEDUP
    warn_of_pairs(mode, {*publisher.state.sources_of(SPEECH), *(source.name for source in sources)})
    uploaders = [
        source.uploaders[split]
        for split in reversed(SPLITS)
        for source in sources
        if split in source.uploaders and source.processor.row_schema.has_audio
    ]
    if mode is Dedup.OFF or not any(map(_has_work, uploaders)):
        yield None
        return
    index = ClipIndex(options.staging_dir / FILE_NAME, _identity(publisher.state, mode))
    try:
        filling = _Filling(index, mode, publisher, uploaders, options.staging_dir)
        durable, last_run = _durable(publisher.state, uploaders), publisher.committed.run_id
        if not index.holds(durable, publisher.ledger, last_run, publisher.run_id):
            filling.fill()
        filling.take_others()
        filling.set_aside_unfounded()
        yield Judge(index, mode)
    finally:
        index.close()


def _has_work(uploader: SplitUploader) -> bool:
    """Whether clips are still to be judged, or what was judged is still to be believed."""
    published = uploader.publisher.state.split(uploader.source, uploader.split).progress.read
    return not uploader.progress.finished or any(_named_by(one, published) for one in uploader.staging.segments)


def _identity(state: State, mode: Dedup) -> str:
    """What an index is of. With the holes: what a repair took away, it must not know any more."""
    return json.dumps([state.generation, mode, [list(ids) for ids in state.holes]])


def _durable(state: State, uploaders: Iterable[SplitUploader]) -> Mapping[SplitOfSource, Reached]:
    """How far each split is, published or staged."""
    published = {
        (name, split): reached(source, split)
        for name, source in state.sources_of(SPEECH).items()
        for split in source.splits
    }
    staged = {(one.source, one.split): reached(state.sources[one.source], one.split, one.progress) for one in uploaders}
    return {**published, **staged}


class _Filling:
    """The index of clips, made anew."""

    def __init__(
        self,
        index: ClipIndex,
        mode: Dedup,
        publisher: Publisher,
        uploaders: Sequence[SplitUploader],
        staging: Path,
    ) -> None:
        self._index, self._mode, self._publisher = index, mode, publisher
        self._uploaders, self._staging = uploaders, staging
        self._judge = Judge(index, mode)

    def fill(self) -> None:
        self._index.clear()
        for record in self._publisher.shards(SPEECH):
            part = parse_part_path(record.path)
            place = (part.source, part.split)
            self._index.add(place, 0, self._published(record, place, part.number))
            self._index.flush()
        for name, source in self._publisher.state.sources_of(SPEECH).items():
            for split in source.splits:
                self._index.note_covered((name, split), reached(source, split))
        self._index.finish()
        self._index.note_made_from(self._publisher.ledger, self._publisher.run_id)
        for uploader in self._uploaders:
            self._take_staged(uploader)

    def _published(self, record: FileRecord, place: SplitOfSource, number: int) -> Iterable[Entry]:
        """The clips of a shard: from its index file, where that is what it should be."""
        target, snapshot = self._publisher.target, self._publisher.snapshot
        raw = target.read_file(index_path(*place, number), snapshot)
        entries = from_bytes(raw, self._mode, record.rows, record.size_bytes)
        if entries is not None:
            return entries
        log.info("%s has no index file that fits it: reading its rows", record.path)
        near = self._mode is Dedup.NEAR
        columns = ["source_id", "audio_hash", "length", "transcript", *(["audio"] if near else [])]
        rows = chain.from_iterable(batch.to_pylist() for batch in target.batches(record.path, columns, snapshot))
        return (entry_of(row, _fingerprint(row) if near else b"") for row in rows)

    def _take_staged(self, uploader: SplitUploader) -> None:
        """Enter the staged clips of a split, up to one that repeats what is published."""
        place = (uploader.source, uploader.split)
        state = self._publisher.state
        published = state.split(*place).progress.read
        for segment in uploader.staging.segments:
            if repeated := self._repeated(segment, place, published):
                uploader.set_aside_from(segment, f"it has {repeated}, published meanwhile")
                return
            for ordinal, entry in staged_entries(segment, published, segment.progress.read):
                self._index.add(place, ordinal, [entry])
            self._index.note_covered(place, reached(state.sources[place[0]], place[1], segment.progress))

    def set_aside_unfounded(self) -> None:
        """Have the clips read again that were refused as duplicates of clips that are not there any more."""
        state = self._publisher.state
        for uploader in self._uploaders:  # in the order of reading: what is set aside can only be named by later ones
            place = (uploader.source, uploader.split)
            published = state.split(*place).progress.read
            named = {segment.path: _named_by(segment, published) for segment in uploader.staging.segments}
            missing = self._index.missing(set().union(*named.values()))
            for segment in uploader.staging.segments:
                if gone := missing & named[segment.path]:
                    why = f"it has duplicates of {min(gone)}, which is neither published nor staged"
                    uploader.set_aside_from(segment, why)
                    now = reached(state.sources[place[0]], place[1], uploader.progress)
                    self._index.forget_behind(place, now)
                    break

    def take_others(self) -> None:
        """Enter what is staged of unfinished sources of the dataset that this run does not read.

        Not noted: their own run is to judge it. What is staged of a source that the dataset does not name is not
        entered: nobody knows whether it will ever be published.
        """
        found = False
        ours = {(uploader.source, uploader.split) for uploader in self._uploaders}
        state = self._publisher.state
        for folder in sorted(self._staging.glob("*/*/")):
            place = (folder.parent.name, folder.name)
            if place in ours or place[0] not in state.sources:
                continue
            published = state.split(*place).progress
            for segment in read_segments(folder, lambda path, why: None):
                if segment.key.generation == state.generation and not published.finished and segment.has_audio:
                    entries = staged_entries(segment, published.read, segment.progress.read)
                    self._index.add(_OTHERS, 1, (entry for _, entry in entries))
                    found = True
        if found:
            self._index.note_covered(_OTHERS, Reached("", 1))

    def _repeated(self, segment: Segment, place: SplitOfSource, published: int) -> str:
        """What a staged clip repeats, in words; "" where none does."""
        for group in segment.batches():
            for row in group.to_pylist():
                if row["_ordinal"] > published and (found := self._judge.repeated(place, row)):
                    return found
        return ""


def _named_by(segment: Segment, published: int) -> set[str]:
    """The clips that those clips of a segment repeat that were refused for it and are not published."""
    return {
        repeated_clip(one.reject.detail)
        for one in segment.rejects
        if one.ordinal > published and one.reject.reason == RejectReason.DUPLICATE
    }


def _fingerprint(row: Any) -> bytes:
    return audio_fingerprint(row["audio"]["bytes"]).stored
