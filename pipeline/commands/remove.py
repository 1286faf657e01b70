"""`--remove`, `--remove-speaker`, `--remove-id`: say what goes, take it out in one commit, say where it still is."""

import logging
import re
import shlex
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pipeline.commands.verify import refuse_where_nothing_is
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from processors import source_name
from utils.audit.findings import SHOWN
from utils.audit.removal import Removal, Wishes, plan_removal
from utils.dataset.card_text import duration_text
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.state import State
from utils.dataset.target import Target
from utils.disk.durable import remove, remove_tree
from utils.errors import UsageError
from utils.rows.ids import ranges_text
from utils.rows.printable import one_line
from utils.rows.schema import ROW_SCHEMAS, speaker_id
from utils.upload.segments import forget_segment, of_older_version, read_segments
from utils.upload.staging import KEPT_SEEK_POINT

log = logging.getLogger(__name__)

_SPEAKER_ID: Final = re.compile(r"SPK_[0-9a-f]{16}")


def run_removal(options: Options, target: Target, stop: StopRequest) -> str:
    """Take out what the options name, or with `dry_run` only look; returns what to tell."""
    clips = _listed_clips(options.remove_ids) if options.remove_ids else frozenset()
    with target.lock(), tempfile.TemporaryDirectory(prefix="remove-") as scratch:
        refuse_where_nothing_is(target)
        if isinstance(target, HubTarget) and not options.dry_run:
            target.open()
        held = target.snapshot().state
        sources = frozenset(_source(name, held) for name in options.remove)
        speakers = frozenset(_speaker(given, held) for given in options.remove_speakers)
        removal = plan_removal(target, Path(scratch), Wishes(sources, speakers, clips), stop)
        _refuse_unknown_speakers(speakers, removal)
        told = "\n".join(_plan_lines(removal, options.target_name))
        if options.dry_run:
            end = "That is what it would do. Nothing was changed."
            return f"{told}\n\n{end if removal.change else 'It would do nothing.'}"
        if removal.change is None:
            end = "Nothing to take out: nothing was changed."
        else:
            end = f"Done, in one commit. {target.take_out(removal.change, removal.snapshot)}"
        _forget_staged(options, sources, target.snapshot().state)
        return "\n".join([told, "", end, "", *_where_it_still_is(options, target)])


def _source(given: str, state: State | None) -> str:
    """The source that a name means: one of the dataset's, else one that we know by another name."""
    names = {name.lower(): name for name in (state.sources if state else ())}
    return names.get(given.lower()) or source_name(given)


def _speaker(given: str, state: State | None) -> str:
    """The `speaker_id` that is meant: given as such, or as the source and the source's own name of the speaker."""
    source, slash, name = given.partition("/")
    if slash and state and source in state.sources and (known := speaker_id(source, name)):
        return known
    return given


def _refuse_unknown_speakers(speakers: Iterable[str], removal: Removal) -> None:
    """UsageError for what no row has, and is no hash of ours: listed, it would keep nobody away."""
    strange = [name for name in speakers if name in removal.unknown and not _SPEAKER_ID.fullmatch(name)]
    if strange:
        raise UsageError(
            f"No row has the speaker {_listed(tuple(sorted(strange)))}. Nothing was changed. Give what the column "
            "speaker_id has (SPK_ and 16 digits or letters), or the source and its own name of the speaker, such as "
            "MyCorpus/somchai."
        )


def _listed_clips(path: Path) -> frozenset[str]:
    """The clips that a file lists: one source id or ID a line; `#` begins a remark. UsageError where it is no such."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"--remove-id {path} can't be read ({told}). Nothing was changed.") from error
    clips: set[str] = set()
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if not name.isprintable():
            raise UsageError(
                f"Line {number} of {path} is no source id or ID: {one_line(name)}. Nothing was changed. Give one a "
                "line, such as GigaSpeech2/train/0-685-9 or S123."
            )
        clips.add(name)
    if not clips:
        raise UsageError(f"{path} lists no clip. Nothing was changed. Give one source id or ID a line.")
    return frozenset(clips)


def _forget_staged(options: Options, sources: Iterable[str], state: State | None) -> None:
    """Delete what waits on this machine and was read before: it may hold what was taken out."""
    for name in (*sources, "built"):
        remove_tree(options.staging_dir / name)
    unknown = [path for name in ("segment.tmp", KEPT_SEEK_POINT) for path in options.staging_dir.glob(f"*/*/{name}")]
    for path in sorted((*unknown, *of_older_version(options.staging_dir))):
        remove(path)
    for folder in sorted(options.staging_dir.glob("*/*")):
        for segment in read_segments(folder, lambda path, why: None):
            if state and segment.key.removed != state.list_of_removed:
                forget_segment(segment)


# --- what to tell ----------------------------------------------------------------------------


def _plan_lines(removal: Removal, where: str) -> Iterator[str]:
    yield f"Dataset: {one_line(where)}"
    lasting = f" ({duration_text(removal.duration_s)})" if removal.duration_s else ""
    yield f"Rows that go: {removal.total:,}{lasting}; {removal.clips_left:,} stay."
    for (source, split), rows in sorted(removal.rows.items()):
        yield f"  {one_line(source)}/{one_line(split)}: {rows:,}"
    if removal.rewritten:
        yield f"Data files to write again: {_listed(removal.rewritten)}."
    if removal.removed:
        yield f"Data files that lose all their rows, and go: {_listed(removal.removed)}."
    for kind, holes in removal.holes.items():
        if holes:
            yield f"IDs that stand for nothing from now on: {ranges_text(holes, ROW_SCHEMAS[kind].id_prefix)}."
    if removal.listed:
        yield f"New on the list of what is never collected again (as hashes): {removal.listed:,}."
    if removal.speakerless:
        yield (
            f"{removal.speakerless:,} clips are rejects, as the dataset has the same recording under another name, and "
            "rejects don't tell their speaker. Give those of the speaker (see the source) to --remove-id: it takes "
            "out what is published instead."
        )
    if removal.unknown:
        yield (
            f"No row of the dataset has: {_listed(removal.unknown)}. Speakers and source ids among these are "
            "listed all the same; an ID (S123) that no row has says nothing."
        )


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(one_line, names[:SHOWN])) + more


def _where_it_still_is(options: Options, target: Target) -> Iterator[str]:
    """What else holds the clips, and what to type to be rid of that."""
    if isinstance(target, HubTarget):
        yield from _on_the_hub(target)
    elif isinstance(target, LocalTarget):
        yield from _beside_the_folder(target)
    local = [path for path in _local_leftovers(options) if path.exists()]
    if local:
        yield "Files of earlier runs on this machine may hold them, too:"
        yield from (f"  {shlex.join(['rm', '-r', str(path)])}" for path in local)
    yield "Downloaded source files hold all that their sources have: --clear-cache deletes them, and mirrors are yours."


def _on_the_hub(target: HubTarget) -> Iterator[str]:
    yield f"Old revisions of {target.name}, and its tags, still hold them. To be rid of these, for good and for all:"
    for tag in sorted(target.tags()):
        yield f"  {shlex.join(['hf', 'repos', 'tag', 'delete', target.name, tag, '--type', 'dataset', '--yes'])}"
    squash = f"HfApi().super_squash_history({target.name!r}, repo_type='dataset')"
    yield f"  {shlex.join(['python', '-c', f'from huggingface_hub import HfApi; {squash}'])}"
    yield "Other branches and pull requests hold them as well. The settings of the repo list large files that no"
    yield "revision names any more, and delete them. Copies that others made are out of reach."


def _beside_the_folder(target: LocalTarget) -> Iterator[str]:
    put_away = target.put_away()
    if put_away:
        yield "These datasets as they were before still hold them. To be rid of them, for good:"
        yield from (f"  {shlex.join(['rm', '-r', str(path)])}" for path in put_away)
    else:
        yield "No older state of this dataset lies beside it."


def _local_leftovers(options: Options) -> list[Path]:
    """Where earlier runs have put staged clips aside."""
    return [options.staging_dir / "set-aside", options.data_dir / "staging" / "archive"]
