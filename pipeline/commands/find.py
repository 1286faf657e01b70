"""`--find`: who or what is meant, looked for in the target and in what is staged; a table, and what to type then.

What is a file here is looked for by its sound, all else by name and words. Nothing is changed.
"""

import json
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from pipeline.commands.verify import Teller, refuse_where_nothing_is, undisturbed
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.terminal.typesetting import cut_to, left_aligned, right_aligned, wrapped
from processors import ALIASES
from utils.audio.fingerprint import SAME_RECORDING
from utils.audio.standardize import AudioRejected
from utils.dataset.folder import LocalTarget
from utils.dataset.target import Target
from utils.errors import COMMAND, TargetMoved, TargetRefused, UsageError
from utils.finding.find import ROW, STAGED, STAGED_REJECT, Found, Hit, Place, Search
from utils.finding.wanted import ALIKE, BY_LIST, BY_SPEAKER, BY_WORDS, Name, Sound, percent
from utils.rows.printable import one_line

WIDTH: Final = 80
SHOWN: Final = 100
"""Clips in the table."""
TYPED: Final = 10
"""Clips that the command to take them out spells; of more, a file is made of the JSON."""
MAX_FILE_BYTES: Final = 500 * 1000**2
_PATH_BEGINS: Final = ("/", "./", "../")
_TO_REMOVE: Final = "to-remove.txt"
_A_LINE_EACH: Final = r"%s\n"


def run_find(options: Options, target: Target, stop: StopRequest) -> tuple[str, int]:
    """Look for what the options name; returns what to tell, and the exit code."""
    content = _content(options.find)
    refuse_where_nothing_is(target)
    with ExitStack() as opened:
        opened.enter_context(undisturbed(target))
        scratch = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="find-")))
        search = Search(_place(options, target, scratch, stop))
        if content is None:
            found = search.by_name(Name(options.find, search.sources, search.removed))
        else:
            sound = _sound(options.find, content, search)
            _refuse_what_is_a_name_too(options.find, search)
            found = search.by_sound(sound)
    if isinstance(target, LocalTarget) and found.revision != target.head():
        raise TargetMoved(
            f"{target.name} was written to while it was looked through, so what was found may not be all. Wait until "
            "the other run has ended, then repeat this command."
        )
    code = TargetRefused.exit_code if found.not_read else 0 if found.is_known else UsageError.exit_code
    if options.as_json:
        return json.dumps(_as_json(options, found, by_sound=content is not None), ensure_ascii=False, indent=2), code
    return "\n".join(_lines(options, target, found, by_sound=content is not None)), code


# --- what is meant ---------------------------------------------------------------------------


def _content(what: str) -> bytes | None:
    """The bytes of a file that is meant; None where it is a name or words. UsageError where it can't be read."""
    path = Path(what)
    try:
        if not path.is_file():
            if what.startswith(_PATH_BEGINS):
                problem = "is a folder: give one recording" if path.is_dir() else "is no file here"
                raise UsageError(f"{what} {problem}. Nothing was looked for.")
            return None
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{what} is larger than {MAX_FILE_BYTES / 1e6:,.0f} MB: give a recording of one clip.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if not what.startswith(_PATH_BEGINS) and not isinstance(error, PermissionError):
            return None  # words may be too long for the name of a file
        told = error.strerror if isinstance(error, OSError) else "no file can be called so"
        raise UsageError(f"{what} can't be read ({told}). Nothing was looked for.") from error


def _sound(what: str, content: bytes, search: Search) -> Sound:
    try:
        return Sound.of(content, search.state, search.removed)
    except AudioRejected as error:
        raise UsageError(
            f"{what} is a file here, and it is no audio that could be looked for ({one_line(str(error))}). Nothing was "
            "looked for. Give a recording, such as a WAV, FLAC or MP3; or, if a name is meant, another form of it (an "
            "ID, a whole source id, SPK_...), or repeat the command from another folder."
        ) from error


def _refuse_what_is_a_name_too(what: str, search: Search) -> None:
    """UsageError where a recording's path is also what a clip or a speaker is called."""
    if what.startswith(_PATH_BEGINS):
        return
    named = search.first_called(Name(what, search.sources, search.removed))
    if named is None:
        return
    other = next(one for one in (named.ID, named.source_id, named.speaker_id) if one != what)
    raise UsageError(
        f"{what} is a file here, and a name in the dataset, too ({named.ID or 'a reject'}: {named.source_id}). Nothing "
        f"was looked for. For the recording, type ./{what}; for the name, what else it is called: {other}."
    )


def _place(options: Options, target: Target, scratch: Path, stop: StopRequest) -> Place:
    aliases = {alias.lower(): name for alias, name in ALIASES.items()}
    sources = tuple(aliases.get(name.lower(), name) for name in options.find_in)
    return Place(target, options.staging_dir, scratch, sources, Teller("looking through"), stop)


# --- what to tell ----------------------------------------------------------------------------


def _lines(options: Options, target: Target, found: Found, *, by_sound: bool) -> Iterator[str]:
    yield f"Dataset: {one_line(options.target_name)}"
    yield from wrapped(f"Looked for{', by its sound' if by_sound else ''}: {options.find}", width=WIDTH)
    if found.hits:
        yield from _table(found)
    for told in found.told_of_list:
        yield from wrapped(told, width=WIDTH)
    if not found.is_known:
        yield from _nothing(options, found, by_sound=by_sound)
    yield from (f"Not looked at: {one_line(told)}" for told in found.not_read)
    yield from _not_looked_through(options, target)
    if found.total:
        yield from _to_take_out(options, found)


def _table(found: Found) -> Iterator[str]:
    yield ""
    yield f"{'ID':<14} {'length':>9}  found by"
    yield "    file; source id, speaker; transcript"
    yield "-" * WIDTH
    for hit in found.hits[:SHOWN]:
        yield from _hit_lines(hit)
    yield "-" * WIDTH
    kinds = ", ".join(f"{kind}s: {count:,}" for kind, count in Counter(hit.kind for hit in found.hits).items())
    held = f"; of the first {len(found.hits):,}" if found.total > len(found.hits) else ""
    shown = f"; the first {SHOWN:,} are shown" if found.total > SHOWN else ""
    yield f"Found: {found.total:,} ({kinds}{held}){shown}."


def _hit_lines(hit: Hit) -> Iterator[str]:
    length = f"{hit.length_s:,.1f} s" if hit.length_s is not None else "-"
    by = ", ".join([*hit.found_by, *([percent(hit.likeness)] if hit.likeness is not None else [])])
    yield f"{left_aligned(one_line(hit.ID) or f'({hit.kind})', 14)} {right_aligned(length, 9)}  {by}"
    yield f"    {one_line(hit.file)}"  # never cut: it is to be copied
    speaker = f", {hit.speaker_id}" if hit.speaker_id else ""
    yield from wrapped(hit.source_id + speaker, indent=4, width=WIDTH)
    if hit.text:
        yield f"    {cut_to(one_line(hit.text), WIDTH - 4)}"


def _nothing(options: Options, found: Found, *, by_sound: bool) -> Iterator[str]:
    where = " of the sources that were named" if options.find_in else ""
    yield ""
    looked_at = f"{found.rows_looked_at:,} rows{where}, their rejects and what is staged"
    yield from wrapped(f"Nothing was found in {looked_at}.", width=WIDTH)
    if by_sound:
        told = (
            f"No clip has a likeness of {percent(ALIKE)} or more. A part of a longer recording is not found, nor one "
            "that was made faster or slower: look for its words, or its speaker."
        )
    elif found.source:
        told = f"{found.source} is a source of it: --status counts its clips, and --remove takes it out as a whole."
    elif found.near:
        told = f"Did you mean {found.near}?"
    else:
        told = (
            "No name is near it, and there is no such file. Names of speakers are hashed, so they are found only as "
            "their source has them, to the letter."
        )
    yield from wrapped(told, width=WIDTH)


def _not_looked_through(options: Options, target: Target) -> Iterator[str]:
    """Where clips may lie as well, but for what sources have themselves."""
    archive = options.data_dir / "staging" / "archive"
    put_away = target.put_away() if isinstance(target, LocalTarget) else []
    yield from (f"Not looked through: {path}" for path in (*put_away, *([archive] if archive.exists() else [])))
    if not isinstance(target, LocalTarget):
        yield "Not looked through: old revisions of the repo, its tags and other branches."


def _to_take_out(options: Options, found: Found) -> Iterator[str]:
    meant = _meant(found)
    yield ""
    if any((hit.likeness or 1.0) < SAME_RECORDING for hit in found.hits):
        yield from wrapped(
            f"Listen to those under {percent(SAME_RECORDING)}: they may be another recording, and are not named below.",
            width=WIDTH,
        )
    if len({hit.found_by == (BY_WORDS,) for hit in found.hits}) > 1:
        yield "What was found by its words alone is not named below, as something has that name."
    if not meant:
        return
    if found.total > len(found.hits):
        yield f"Only the first {len(found.hits):,} are named below. Look for more than that, to find less."
    yield "Nothing was changed. To take out what was found, look through it, then type:"
    yield from (f"  {line}" for line in _commands(options, found, meant))
    yield "and, when that says what you mean, the last line again without --dry-run."


def _commands(options: Options, found: Found, meant: list[Hit]) -> Iterator[str]:
    where = ["--hf-repo", options.hf_repo] if options.hf_repo else ["--output", str(options.output)]
    speakers, names = _speakers_and_clips(meant)
    if len(names) > TYPED:
        read = 'import json, sys; print(*json.load(sys.stdin)["to_remove"]["clips"], sep=chr(10))'
        inside = ["--source", *options.find_in] if options.find_in else []
        again = shlex.join([f"--find={options.find}", *inside, "--json", *where])
        yield f"{COMMAND} {again} | {shlex.join(['python', '-c', read])} > {_TO_REMOVE}"
    elif names:
        yield f"{shlex.join(['printf', _A_LINE_EACH, *names])} > {_TO_REMOVE}"
    is_staged = any(hit.kind in (STAGED, STAGED_REJECT) for hit in meant)
    wishes = [f"--remove-speaker={speaker}" for speaker in speakers] + (["--remove-id", _TO_REMOVE] if names else [])
    yield f"{COMMAND} {shlex.join([*wishes, *where, *(['--allow-missing'] if is_staged else []), '--dry-run'])}"


def _meant(found: Found) -> list[Hit]:
    """What the command names: of a recording only what is surely the same, and nothing that is out already; and where
    something has that name, not what others say of it."""
    is_name = any(set(hit.found_by) - {BY_WORDS} for hit in found.hits)
    return [
        hit
        for hit in found.hits
        if (hit.likeness or 1.0) >= SAME_RECORDING
        and BY_LIST not in hit.found_by
        and not (is_name and hit.found_by == (BY_WORDS,))
    ]


def _speakers_and_clips(meant: list[Hit]) -> tuple[list[str], list[str]]:
    """What --remove-speaker and --remove-id are to name, each once: a speaker's clips go with the speaker."""
    speakers = dict.fromkeys(hit.speaker_id for hit in meant if BY_SPEAKER in hit.found_by)
    clips = dict.fromkeys(_removed_by(hit) for hit in meant if BY_SPEAKER not in hit.found_by)
    return list(speakers), list(clips)


def _removed_by(hit: Hit) -> str:
    return hit.ID if hit.kind == ROW and hit.ID else hit.source_id


def _as_json(options: Options, found: Found, *, by_sound: bool) -> dict[str, Any]:
    speakers, clips = _speakers_and_clips(_meant(found))
    return {
        "target": options.target_name,
        "revision": found.revision,
        "looked_for": options.find,
        "by_sound": by_sound,
        "found": found.total,
        "clips": [hit.as_json() for hit in found.hits],
        "taken_out": found.told_of_list,
        "did_you_mean": found.near,
        "not_read": found.not_read,
        "to_remove": {"speakers": speakers, "clips": clips},
    }
