"""`--remove`, `--remove-speaker`, `--remove-id`: say what goes, take it out in one commit, say where it still is."""

import logging
import re
import shlex
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.commands.verify import refuse_where_nothing_is
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.terminal.typesetting import WIDTH, cut_to
from processors import source_name
from utils.audit.findings import SHOWN
from utils.audit.near_names import told as told_with_near
from utils.audit.removal import Removal, Wishes, plan_removal
from utils.dataset.card_text import duration_text
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.state import State
from utils.dataset.target import Target
from utils.disk.durable import remove, remove_tree, write_atomically
from utils.errors import TargetRefused, UsageError
from utils.rows.ids import ranges_text
from utils.rows.printable import one_line
from utils.rows.schema import ROW_SCHEMAS, speaker_id
from utils.text.spellings import spellings_of
from utils.upload.segments import forget_segment, of_older_version, read_segments
from utils.upload.staging import KEPT_SEEK_POINT

log = logging.getLogger(__name__)

_INVISIBLE: Final = ("Cc", "Cf", "Zs", "Zl", "Zp")
_NAMED: Final = 10
"""Of names that were not found, on the terminal."""
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
        meant = [_speaker(given, held) for given in options.remove_speakers]
        speakers = frozenset(speaker for speaker, *_ in meant)
        spelt = {other: speaker for speaker, *others in meant for other in others if other not in speakers}
        wishes = Wishes(sources, speakers, spelt, clips, options.with_copies, options.source_only)
        removal = plan_removal(target, Path(scratch), wishes, stop)
        if removal.foreign and isinstance(target, HubTarget):
            raise _not_looked_at(removal.foreign, options.target_name)
        _refuse_unknown_speakers(speakers, removal)
        if not (options.allow_missing or options.dry_run):
            _refuse_unknown(removal, options.remove_ids)
        told = "\n".join(_plan_lines(removal, options.target_name))
        if options.dry_run:
            end = "That is what it would do. Nothing was changed."
            return f"{told}\n\n{end if removal.change else 'It would do nothing.'}"
        target.heal(removal.snapshot)  # what a run that died has left could hold what is to go
        if removal.change is None:
            end = "Nothing to take out: nothing was changed."
        else:
            end = f"Done, in one commit. {target.take_out(removal.change, removal.snapshot, options.keep_old)}"
        _forget_staged(options, sources, target.snapshot().state)
        return "\n".join([told, "", end, "", *_where_it_still_is(options, target)])


def _source(given: str, state: State | None) -> str:
    """The source that a name means: one of the dataset's, else one that we know by another name.

    UsageError where it means two, which differ in case alone.
    """
    held = tuple(state.sources) if state else ()
    alike = [given] if given in held else [name for name in held if name.lower() == given.lower()]
    if len(alike) > 1:
        raise UsageError(f"{given} may be {' or '.join(alike)}. Nothing was changed. Give the name as it is there.")
    return alike[0] if alike else source_name(given)


def _speaker(given: str, state: State | None) -> list[str]:
    """The `speaker_id` that is meant: given as such, or as the source and the source's own name of the speaker; then
    of that name in its other spellings, which are other ids."""
    source, slash, name = given.partition("/")
    if slash and state and source in state.sources and speaker_id(source, name):
        ids = (speaker_id(source, spelt) for spelt in spellings_of(name))
        return list(dict.fromkeys(filter(None, ids)))
    return [given]


def _not_looked_at(foreign: tuple[str, ...], where: str) -> TargetRefused:
    """The error of files that others put among a repo's own: the dataset's readers see them, and they may hold what is
    to go. In a folder they are set aside."""
    return TargetRefused(
        f"{where} has {len(foreign):,} files among its data that this program did not put there: {_listed(foreign)}. "
        "Nothing was changed, as they may hold what is to go. Delete them, or move them to another folder of the repo, "
        "then repeat this command."
    )


def _refuse_unknown_speakers(speakers: Iterable[str], removal: Removal) -> None:
    """UsageError for what no row has, and is no hash of ours: listed, it would keep nobody away."""
    strange = [name for name in speakers if name in removal.unknown and not _SPEAKER_ID.fullmatch(name)]
    if strange:
        raise UsageError(
            f"No row has the speaker {_listed(tuple(sorted(strange)))}. Nothing was changed. Give what the column "
            "speaker_id has (SPK_ and 16 digits or letters), or the source and its own name of the speaker, such as "
            "MyCorpus/somchai."
        )


def _refuse_unknown(removal: Removal, listed_in: Path | None) -> None:
    """UsageError, naming them, where the dataset has not all that was named: a slip would leave a clip where it is."""
    if not removal.unknown:
        return
    named = list(told_with_near(removal.unknown, removal.near))
    shown = "".join(f"  {one_line(line)}\n" for line in named[:_NAMED])
    if len(named) > _NAMED:
        file = Path(f"{listed_in or 'removal'}.not-found")
        shown += f"  and {len(named) - _NAMED:,} more"
        with suppress(OSError):  # the list may lie where nothing can be written
            write_atomically(file, "".join(f"{line}\n" for line in named).encode(errors="backslashreplace"))
            shown += f"; all of them are in {file}"
        shown += "\n"
    raise UsageError(
        f"The dataset has nothing of {len(named):,} that you named:\n{shown}Nothing was changed. Mend the names, or "
        "add --allow-missing: then those are put on the list of what is never collected, should a source bring them."
    )


def _listed_clips(path: Path) -> frozenset[str]:
    """The clips that a file lists: one source id or ID a line; `#` begins a remark. UsageError where it is no such."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"--remove-id {path} can't be read ({told}). Nothing was changed.") from error
    clips: set[str] = set()
    for number, line in enumerate(lines, start=1):
        name = _trimmed(line)
        if name != line.strip(" \t\r\n"):
            log.warning("Line %d of %s has invisible characters around the name %s: left out", number, path, name)
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


def _trimmed(line: str) -> str:
    """A line without what can't be seen at its ends: spaces of all kinds, soft hyphens, marks of byte order."""
    seen = [at for at, one in enumerate(line) if unicodedata.category(one) not in _INVISIBLE]
    return line[seen[0] : seen[-1] + 1] if seen else ""


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
            "out what is published instead, with --with-copies."
        )
    if removal.copies:
        yield (
            f"Rows of the same recordings that nobody named: {len(removal.copies):,}. They stay, and their recordings "
            "are not kept away from others. To take them out, too, add --with-copies:"
        )
        for copy in removal.copies[:_NAMED]:
            speaker = f", speaker {copy.speaker_id}" if copy.speaker_id else ""
            yield cut_to(
                f"  {one_line(copy.ID)}: {one_line(copy.source_id + speaker)}: {one_line(copy.transcript)}", WIDTH
            )
        if len(removal.copies) > _NAMED:
            yield f"  and {len(removal.copies) - _NAMED:,} more"
    if removal.unknown:
        yield (
            f"The dataset has nothing of: {_listed(tuple(told_with_near(removal.unknown, removal.near)))}. With "
            "--allow-missing, speakers and source ids among these are listed all the same; an ID (S123) that no row "
            "has says nothing."
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
        yield "No older state of this dataset lies beside it or in it."


def _local_leftovers(options: Options) -> list[Path]:
    """Where earlier runs have put staged clips aside."""
    return [options.staging_dir / "set-aside", options.data_dir / "staging" / "archive"]
