"""What people see in the terminal: what a target holds, what a run has done. Pure: values in, text out.

Nothing is wider than 100 columns, but for what one copies: commands, code, paths and addresses are never
broken. Text of others (names, terms, error messages) loses control characters, so it can't steer the terminal.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.terminal.typesetting import (
    WIDTH,
    cut_to,
    display_width,
    left_aligned,
    painted,
    painted_lines,
    right_aligned,
    wrapped,
)
from utils.dataset.card_text import duration_text
from utils.dataset.state import SplitState, State
from utils.errors import COMMAND
from utils.rows.printable import one_line
from utils.rows.progress import Progress, SplitOfSource
from utils.rows.schema import DIALOGUE, DUPLICATE_OF_TRAIN, ROW_SCHEMAS, SPEECH, SPLITS, RejectReason, RowSchema

_BOLD, _RED, _GREEN = "1", "31", "32"


def status_report(
    state: State | None,
    where: str,
    staged: Mapping[SplitOfSource, int] | None = None,
    read: Mapping[SplitOfSource, Progress] | None = None,
    without_audio: Collection[str] = (),
) -> str:
    """What a target holds, per source and split.

    `staged` has the samples that wait on this machine, `read` how far it has read where that is further
    than what is published, `without_audio` names sources of text of which the state may not know yet.
    """
    staged = staged or {}
    if state is None:
        return "\n".join(
            [f"There is no dataset of ours in {one_line(where)} yet.", *_staged_alone(staged), _HOW_TO_BEGIN]
        )
    parts = [f"Dataset: {one_line(where)}", f"It holds {_holdings(state)}. Generation {one_line(state.generation)}."]
    if state.replaces_old_data:
        parts += wrapped(_OLD_DATA)
    splits = _in_order({*_splits_of(state), *(place for place, rows in staged.items() if rows)})
    if not splits:
        return "\n".join([*parts, "", "No source has been read yet."])
    return "\n".join([*parts, "", *_status_table(state, splits, staged, read or {}, _of_text(state, without_audio))])


def summary(
    state: State,
    where: str,
    this_run: Mapping[SplitOfSource, Progress],
    failures: Mapping[str, str] | None = None,
    next_command: str | None = None,
    *,
    reasons: Mapping[SplitOfSource, Counter[str]] | None = None,
    left_out: Mapping[str, str] | None = None,
    without_audio: Collection[str] = (),
    nothing_to_do: bool = False,
    rows_before: int = 0,
    read_again_bytes: int = 0,
    colour: bool = False,
) -> str:
    """The last words of a run: the books, the dataset, what failed, what to type next.

    `where` is what `load_dataset` takes. `this_run` has the progress of the splits that the run had in
    hand, clips that are staged but not yet published included; other splits are told from the state. `without_audio`
    names sources of text, of which the state may not know yet. `read_again_bytes`: of sources, by a resume.
    `failures` says of each source that could not be read what happened and what to do, `left_out` of each that was not
    tried how it is reached. `rows_before`: what the dataset held when the run began.
    """
    failures = failures or {}
    books = _worth_a_line(_all_books(state, this_run, _of_text(state, without_audio)), failures)
    paragraphs = [
        "Nothing to do: everything is published already." if nothing_to_do else "",
        "\n".join(_summary_table(books, colour)) if books else "No clips were read.",
        "\n".join(_balance(state, books, bool(failures), colour)) if books else "",
        "\n".join(_reasons_text(reasons or {})),
        "\n".join(_mended_text(state, reasons or {}, this_run, nothing_to_do)),
        "\n".join(_leaks_text(reasons or {})),
        f"read again: {read_again_bytes / 1e6:,.1f} MB" if read_again_bytes else "",
        "\n".join(_where_text(state, where, rows_before)),
        "\n".join(_left_out_text(left_out or {})),
        "\n".join(_failures_text(failures, colour)),
        f"{painted(_heading_of_next(failures), _BOLD, colour)}\n\n    {next_command}" if next_command else "",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _heading_of_next(failures: Mapping[str, str]) -> str:
    return "When that is mended, type:" if failures else "To go on, type:"


# --- status ----------------------------------------------------------------------------------

_HOW_TO_BEGIN = f"To begin one, run `{COMMAND} --fresh --all` with the same --output or --hf-repo."
_OLD_DATA = (
    "A fresh dataset was begun here. The old data is still in place: the first shard of the new one replaces it. "
    "To go on, repeat that command with --resume."
)


def _staged_alone(staged: Mapping[SplitOfSource, int]) -> list[str]:
    return [
        f"Staged on this machine: {rows:,} samples of {source}/{split}."
        for (source, split), rows in staged.items()
        if rows
    ]


def _status_table(
    state: State,
    splits: Sequence[SplitOfSource],
    staged: Mapping[SplitOfSource, int],
    read: Mapping[SplitOfSource, Progress],
    of_text: Collection[str],
) -> list[str]:
    rows: list[_Row] = []
    notes: dict[int, list[str]] = {}
    for place in splits:
        split = state.split(*place)
        progress = read.get(place, split.progress)
        rows += _heading(rows, place[0])
        counts = [split.published, split.rejected, _sum_of("unselected", split), staged.get(place, 0)]
        word = "finished" if progress.finished else "unfinished"
        duration = _NO_DURATION if place[0] in of_text else duration_text(split.duration_s)
        rows.append(_Row(place, [*(f"{count:,}" for count in counts), duration, word]))
        if not progress.finished:
            notes[len(rows) - 1] = wrapped(f"next position: {_compact(progress.position)}", indent=4)
    titles = ["published", "rejected", "unselected", "staged", "duration", "reading"]
    return list(_table(titles, rows, notes))


def _compact(position: Mapping[str, object]) -> str:
    return json.dumps(position, ensure_ascii=False, separators=(",", ":"))


def _holdings(state: State) -> str:
    """What is published, in one line."""
    held = [_holdings_of(state, rows) for rows in ROW_SCHEMAS.values()]
    return "; and ".join(filter(None, held)) or "no clips yet"


def _holdings_of(state: State, rows: RowSchema) -> str:
    """`349 clips, 5.3 min, 5.9 MB, IDs S1 to S349`; "" where there are none of this kind."""
    splits = _published(state, rows)
    if not splits:
        return ""
    size, duration = sum(split.size_bytes for split in splits), sum(split.duration_s for split in splits)
    first, last = (f"{rows.id_prefix}{number}" for number in (1, state.next_id_of(rows) - 1))
    holes = f" but for {_removed(state):,}" if rows is SPEECH and state.holes else ""
    facts = [rows.count(sum(split.published for split in splits)), *([duration_text(duration)] * rows.has_audio)]
    ids = f"ID {first}" if first == last else f"IDs {first} to {last}"
    return f"{', '.join(facts)}, {_size_text(size)}, {ids}{holes}"


def _published(state: State, rows: RowSchema) -> list[SplitState]:
    """The splits with rows of a kind."""
    sources = state.sources_of(rows).values()
    return [split for source in sources for split in source.splits.values() if split.published]


_NO_DURATION = "-"
"""Of rows without audio."""


def _of_text(state: State, more: Iterable[str]) -> set[str]:
    """The sources whose rows have no audio."""
    return {*more, *(name for name, source in state.sources.items() if not source.row_schema.has_audio)}


def _size_text(size_bytes: int) -> str:
    for unit, bytes_each in (("GB", 1000**3), ("MB", 1000**2)):
        if size_bytes >= bytes_each:
            return f"{size_bytes / bytes_each:,.1f} {unit}"
    return f"{size_bytes / 1000:.1f} kB"


# --- summary ---------------------------------------------------------------------------------

_COUNTS = ("read", "kept", "rejected", "unselected", "known")
_ALWAYS_SHOWN = ("read", "kept", "rejected", "published")


@dataclass(frozen=True)
class _Books:
    """Clips of a split by what became of them, over all revisions of its source; sums of such."""

    counts: Counter[str] = field(default_factory=Counter)
    duration_s: float | None = None
    """None: nothing of it has audio."""

    def __add__(self, other: "_Books") -> "_Books":
        durations = [books.duration_s for books in (self, other) if books.duration_s is not None]
        return _Books(Counter(self.counts) + other.counts, sum(durations) if durations else None)


def _all_books(
    state: State, this_run: Mapping[SplitOfSource, Progress], of_text: Collection[str]
) -> dict[SplitOfSource, _Books]:
    places = _in_order({*_splits_of(state), *this_run})
    return {place: _books(state.split(*place), this_run.get(place), place[0] not in of_text) for place in places}


def _books(split: SplitState, latest: Progress | None, has_audio: bool) -> _Books:
    """A split's books up to `latest`. What was kept since the state's position is staged."""
    latest = latest or split.progress
    counts = Counter({name: getattr(latest, name) + _sum_of_earlier(name, split) for name in _COUNTS})
    counts["published"] = split.published
    counts["staged"] = max(0, latest.kept - split.progress.kept)
    return _Books(counts, split.duration_s if has_audio else None)


def _summary_table(books: Mapping[SplitOfSource, _Books], colour: bool) -> list[str]:
    total = sum(books.values(), start=_Books())
    shown = [name for name in (*_COUNTS, "staged", "published") if name in _ALWAYS_SHOWN or total.counts[name]]
    rows: list[_Row] = []
    for place, split_books in books.items():
        rows += _heading(rows, place[0])
        rows.append(_Row(place, _cells(split_books, shown)))
    *lines, last = _table([*shown, "duration"], [*rows, _Row(("all", ""), _cells(total, shown), is_total=True)])
    return [*lines, painted(last, _BOLD, colour)]


def _worth_a_line(books: Mapping[SplitOfSource, _Books], failures: Mapping[str, str]) -> dict[SplitOfSource, _Books]:
    """Without the splits that a source does not have, unless it has none at all; nothing of one that failed at once:
    that is told, and zeros would say that it has no clips."""
    with_clips = {source for (source, _), of_split in books.items() if any(of_split.counts.values())}
    return {
        place: of_split
        for place, of_split in books.items()
        if any(of_split.counts.values()) or place[0] not in {*with_clips, *failures}
    }


def _cells(books: _Books, shown: Iterable[str]) -> list[str]:
    duration = _NO_DURATION if books.duration_s is None else duration_text(books.duration_s)
    return [*(f"{books.counts[name]:,}" for name in shown), duration]


def _balance(state: State, books: Mapping[SplitOfSource, _Books], failed: bool, colour: bool) -> list[str]:
    """Law 7 in figures: what was read is accounted for, and what was kept is published, staged or removed.

    `failed`: a source could not be read, so that the books are of less than was asked for.
    """
    counts = sum(books.values(), start=_Books()).counts
    removed = _removed(state)
    read = _sum_text(counts, ["kept", "rejected"], ["unselected", "known"])
    kept = _sum_text(counts | Counter(removed=removed), ["published"], ["staged", "removed"])
    missing_of_read = counts["read"] - sum(counts[name] for name in _COUNTS[1:])
    missing_of_kept = counts["kept"] - counts["published"] - counts["staged"] - removed
    facts = [f"read {counts['read']:,} = {read}", f"kept {counts['kept']:,} = {kept}"]
    if not missing_of_read and not missing_of_kept:
        told = wrapped(f"The books {'of what was read ' if failed else ''}balance: {'; '.join(facts)}.")
        return painted_lines(told, _GREEN, colour and not failed)
    differences = [
        f"{name} {counts[name]:,} is not {right}: {abs(missing):,} too {'few' if missing > 0 else 'many'}"
        for name, right, missing in (("read", read, missing_of_read), ("kept", kept, missing_of_kept))
        if missing
    ]
    advice = "Nothing was deleted; please report this with the log."
    return painted_lines(wrapped(f"THE BOOKS DO NOT BALANCE: {'; '.join(differences)}. {advice}"), _RED, colour)


def _sum_text(counts: Counter[str], always: Sequence[str], where_any: Sequence[str]) -> str:
    """`kept 290 + rejected 20`, with further terms where there are any."""
    names = [*always, *(name for name in where_any if counts[name])]
    return " + ".join(f"{name} {counts[name]:,}" for name in names)


def _reasons_text(reasons: Mapping[SplitOfSource, Counter[str]]) -> list[str]:
    """Why clips were rejected, per source, the commonest reason first."""
    by_source: dict[str, Counter[str]] = {}
    for (source, _), counted in sorted(reasons.items()):
        by_source.setdefault(source, Counter()).update(counted)
    lines = []
    for source, counted in by_source.items():
        ranked = sorted(((-count, reason) for reason, count in counted.items() if count), key=lambda item: item)
        told = ", ".join(f"{-negative:,} {reason}" for negative, reason in ranked)
        lines += wrapped(f"{source}: {told}", indent=2) if told else []
    return ["Rejected in this run (which clips, and why: rejected/ in the dataset):", *lines] if lines else []


_MENDABLE = (RejectReason.MISSING_AUDIO, RejectReason.TRUNCATED)


def _mended_text(
    state: State, reasons: Mapping[SplitOfSource, Counter[str]], this_run: Mapping[SplitOfSource, Progress], idle: bool
) -> list[str]:
    """How clips come in whose files are put in place later: no resume and no append asks for one that was rejected."""
    now = any(counted[reason] for counted in reasons.values() for reason in _MENDABLE)
    before = any(split.rejected for source in state.sources.values() for split in source.splits.values())
    if now or (before and (idle or any(progress.known for progress in this_run.values()))):
        return wrapped(
            "A clip that was rejected stays so. One whose file was missing or cut off, and is there now, comes in with "
            "--fresh alone."
        )
    return []


def _leaks_text(reasons: Mapping[SplitOfSource, Counter[str]]) -> list[str]:
    """What to know where clips of evaluation splits are published in train: they can't be in both."""
    leaks = {place: counted[DUPLICATE_OF_TRAIN] for place, counted in reasons.items() if counted[DUPLICATE_OF_TRAIN]}
    if not leaks:
        return []
    told = ", ".join(f"{count:,} of {one_line('/'.join(place))}" for place, count in leaks.items())
    return wrapped(
        f"In train already, so rejected, as no clip is in two splits: {told}. To have them in their own split, begin "
        "anew with --fresh and all sources: test and validation are read first."
    )


def _where_text(state: State, where: str, rows_before: int) -> list[str]:
    lines = [f"The dataset is in {one_line(where)}: {_holdings(state)}."]
    if rows_before:
        lines[0] += f" New in this run: {state.rows - rows_before:,}."
    named = json.dumps(where, ensure_ascii=False)
    speech, dialogue = (bool(_published(state, rows)) for rows in (SPEECH, DIALOGUE))
    if speech:
        lines += ["In Python, without torch:", "", "    from datasets import Audio, load_dataset"]
        lines += [f'    dataset = load_dataset({named}).cast_column("audio", Audio(decode=False))']
    if dialogue:
        lines += [] if speech else ["In Python:", "", "    from datasets import load_dataset"]
        lines += [f'    pairs = load_dataset({named}, "{DIALOGUE.name}")']
    return [*lines, *(wrapped(_OLD_DATA) if state.replaces_old_data else [])]


def _left_out_text(left_out: Mapping[str, str]) -> list[str]:
    lines = [line for source, how in left_out.items() for line in wrapped(f"{one_line(source)}: {how}", indent=2)]
    return ["Left out, as they are not here:", *lines] if lines else []


def _failures_text(failures: Mapping[str, str], colour: bool) -> list[str]:
    lines: list[str] = []
    for source, message in failures.items():
        lines.append(painted(f"{one_line(source)} could not be read:", _RED, colour))
        for line in filter(str.strip, message.splitlines()):
            lines += wrapped(line, indent=4)
    return lines


# --- books of splits -------------------------------------------------------------------------


def _splits_of(state: State) -> list[SplitOfSource]:
    return _in_order((name, split) for name, source in state.sources.items() for split in source.splits)


def _in_order(places: Iterable[SplitOfSource]) -> list[SplitOfSource]:
    """By source, then the usual splits in the usual order, then any others."""
    return sorted(set(places), key=lambda place: (place[0], _rank(place[1]), place[1]))


def _rank(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _sum_of_earlier(count: str, split: SplitState) -> int:
    return sum(int(getattr(books, count)) for books in split.earlier)


def _sum_of(count: str, split: SplitState) -> int:
    return int(getattr(split.progress, count)) + _sum_of_earlier(count, split)


def _removed(state: State) -> int:
    holes = (hole for rows in ROW_SCHEMAS.values() for hole in state.holes_of(rows))
    return sum(last - first + 1 for first, last in holes) + state.nameless


# --- tables and lines ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A row of figures for a split; without figures, the heading of its source."""

    place: SplitOfSource
    figures: Sequence[str] = ()
    is_total: bool = False

    @property
    def label(self) -> str:
        return f"  {one_line(self.place[1])}" if self.figures and not self.is_total else one_line(self.place[0])


def _heading(rows: Sequence[_Row], source: str) -> list[_Row]:
    """A heading where a new source begins."""
    return [] if rows and rows[-1].place[0] == source else [_Row((source, ""))]


def _table(titles: Sequence[str], rows: Sequence[_Row], notes: Mapping[int, list[str]] | None = None) -> Iterator[str]:
    """Lines of a table with a label column and right-aligned figures; `notes` follow the rows they are for."""
    widths = [
        max(display_width(title), *(display_width(row.figures[at]) for row in rows if row.figures))
        for at, title in enumerate(titles)
    ]
    gap = 2 if sum(widths) + 2 * len(widths) + 12 <= WIDTH else 1
    room = WIDTH - sum(widths) - gap * len(widths)
    needed = max(display_width(row.label) for row in rows if row.figures)
    label_width = max(1, min(room, max(needed, 20)))

    def line(label: str, figures: Sequence[str]) -> str:
        cells = [" " * gap + right_aligned(figure, width) for figure, width in zip(figures, widths, strict=True)]
        return left_aligned(label, label_width) + "".join(cells)

    yield line("", titles)
    rule = "-" * (label_width + sum(widths) + gap * len(widths))
    yield rule
    for number, row in enumerate(rows):
        if row.is_total:
            yield rule
        yield line(row.label, row.figures) if row.figures else cut_to(row.label, WIDTH)
        yield from (notes or {}).get(number, [])
