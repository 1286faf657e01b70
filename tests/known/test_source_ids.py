"""The index of source ids: every id once, across crashes, rebuilds and revisions of a source."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kills import Killed, KilledAt
from tests.small_runs import watching
from utils.known.clips import ClipIndex
from utils.known.source_ids import SeenIds
from utils.rows.schema import Reject, RejectReason, Skip


@contextmanager
def index(folder: Path, identity: str = "generation") -> Iterator[SeenIds]:
    """The index as a run opens it; left without `close`, it would be as after a crash."""
    seen = SeenIds(folder / "seen" / "Corpus.sqlite", identity)
    try:
        yield seen
    finally:
        seen.close()


def read(seen: SeenIds, ids: list[str], start: int = 0, revision: int = 0, split: str = "train") -> list[object]:
    """What each clip is instead of a new one, read from `start` on."""
    return [seen.admit(ids[at], split, at + 1, revision) for at in range(start, len(ids))]


def test_new_ids_pass(tmp_path: Path) -> None:
    """An id that was not read before is a new clip."""
    with index(tmp_path) as seen:
        assert read(seen, ["a", "b", "c"]) == [None, None, None]


def test_second_clip_under_an_id_is_a_reject(tmp_path: Path) -> None:
    """Within a split and across splits; the first one stays."""
    with index(tmp_path) as seen:
        assert read(seen, ["a"], split="test") == [None]
        first, second = read(seen, ["b", "a"])

        assert first is None
        assert isinstance(second, Reject)
        assert (second.source_id, second.reason) == ("a", RejectReason.REPEATED_SOURCE_ID)


def test_clip_read_again_recognizes_itself(tmp_path: Path) -> None:
    """After a crash clips are read again: what was new is new again, what was a repeat is a repeat again."""
    ids = ["a", "b", "a", "c"]
    with index(tmp_path) as seen:
        before = read(seen, ids)
        seen.note_covered("train", 4, 0)

    with index(tmp_path) as seen:
        assert read(seen, ids, start=1) == before[1:]


def test_clip_of_an_earlier_revision_is_known(tmp_path: Path) -> None:
    """A newer revision repeats what the earlier one had: passed over, not rejected."""
    with index(tmp_path) as seen:
        seen.add_known(["a", "b"], "train", 0)

        assert read(seen, ["x", "a", "b", "x"], revision=1)[:3] == [None, Skip.KNOWN, Skip.KNOWN]
        assert isinstance(seen.admit("x", "train", 4, 1), Reject)


def test_repeats_of_known_clips_are_known(tmp_path: Path) -> None:
    """However often a newer revision has it."""
    with index(tmp_path) as seen:
        seen.add_known(["a"], "train", 0)

        assert read(seen, ["a", "a"], revision=1) == [Skip.KNOWN, Skip.KNOWN]


def test_new_index_covers_nothing(tmp_path: Path) -> None:
    """Not even the start of a split: it lacks the ids of the revisions before (law 8, unknown is not empty)."""
    with index(tmp_path) as seen:
        assert not seen.covers("train", 0, 0)
        assert not seen.covers("train", 0, 1)


def test_covers_as_far_as_was_noted(tmp_path: Path) -> None:
    """Per split and revision; and what is noted outlives the run."""
    with index(tmp_path) as seen:
        read(seen, ["a", "b"])
        seen.note_covered("train", 2, 0)

    with index(tmp_path) as seen:
        asked = [("train", 2, 0), ("train", 1, 0), ("train", 3, 0), ("test", 1, 0), ("train", 1, 1)]
        assert [seen.covers(*place) for place in asked] == [True, True, False, False, False]


def test_entries_are_durable_before_what_they_stand_for(tmp_path: Path) -> None:
    """After `note_covered` another connection finds the entries, though nothing was closed: a crash keeps them."""
    with index(tmp_path) as seen:
        read(seen, ["a", "b"])
        seen.note_covered("train", 2, 0)

        found = sqlite3.connect(tmp_path / "seen" / "Corpus.sqlite")
        assert found.execute("SELECT COUNT(*) FROM seen").fetchone() == (2,)
        found.close()


def test_another_generation_begins_empty(tmp_path: Path) -> None:
    """Ids of a dataset that was begun anew are new."""
    with index(tmp_path) as seen:
        read(seen, ["a"])
        seen.note_covered("train", 1, 0)

    with index(tmp_path, "another") as seen:
        assert not seen.covers("train", 1, 0)
        assert read(seen, ["a"]) == [None]


ids = st.lists(st.sampled_from("abcdef"), max_size=12)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(ids, st.data())
def test_rebuilt_index_says_the_same_of_what_is_still_to_be_read(
    tmp_path_factory: pytest.TempPathFactory, clips: list[str], data: st.DataObject
) -> None:
    """Made from the published and staged ids (in any order) it answers as the lost one would have."""
    durable = data.draw(st.integers(0, len(clips)))
    with index(tmp_path_factory.mktemp("whole")) as whole:
        expected = read(whole, clips)[durable:]

    with index(tmp_path_factory.mktemp("rebuilt")) as rebuilt:
        rebuilt.add_known(data.draw(st.permutations(clips[:durable])), "train", 0)
        assert read(rebuilt, clips, start=durable) == expected


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(ids, st.data())
def test_entries_ahead_of_what_is_durable_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, clips: list[str], data: st.DataObject
) -> None:
    """A run that died further on than its last checkpoint left entries; reading again gives the same outcomes."""
    durable = data.draw(st.integers(0, len(clips)))
    with index(tmp_path_factory.mktemp("seen")) as seen:
        expected = read(seen, clips)[durable:]

        assert read(seen, clips, start=durable) == expected


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 200, b"\0" * 4096])
def test_corrupted_index_is_replaced(tmp_path: Path, content: bytes) -> None:
    """It is a cache: one that can't be opened is made anew, and covers nothing until it is filled."""
    with index(tmp_path) as seen:
        read(seen, ["a"])
        seen.note_covered("train", 1, 0)
    (tmp_path / "seen" / "Corpus.sqlite").write_bytes(content)

    with index(tmp_path) as seen:
        assert not seen.covers("train", 1, 0)
        assert read(seen, ["a", "a"])[0] is None


def damaged_index(folder: Path, damage: Callable[[bytes], bytes]) -> list[str]:
    """An index of 2,000 ids, damaged; returns them."""
    ids = [f"clip {number}" for number in range(2000)]
    with index(folder) as seen:
        read(seen, ids)
        seen.note_covered("train", 2000, 0)
    path = folder / "seen" / "Corpus.sqlite"
    path.write_bytes(damage(path.read_bytes()))
    return ids


def test_an_index_that_was_cut_short_is_replaced_at_the_start(tmp_path: Path) -> None:
    """It covers nothing, so it is filled before a run."""
    ids = damaged_index(tmp_path, lambda raw: raw[:8192])

    with index(tmp_path) as seen:
        assert not seen.covers("train", 2000, 0)
        assert read(seen, ids) == [None] * 2000


def test_a_damaged_page_does_not_stop_a_run(tmp_path: Path) -> None:
    """The index is made anew where the page is met, with what is durable and what is not yet: no repeat passes."""
    ids = damaged_index(tmp_path, lambda raw: raw[:12288] + b"\xff" * (len(raw) - 12288))
    refilled: list[int] = []

    def refill() -> None:
        refilled.append(len(ids))
        seen.add_known(ids, "train", 0)
        seen.note_covered("train", 2000, 0)

    seen = SeenIds(tmp_path / "seen" / "Corpus.sqlite", "generation", refill)
    new = [f"new {number}" for number in range(500)]
    assert read(seen, [*ids, *new, *new, *ids], start=2000)[:500] == [None] * 500
    assert refilled == [2000]
    for repeated in (*new, *ids):
        assert isinstance(seen.admit(repeated, "train", 9999, 0), Reject)
    seen.close()


def test_an_index_that_was_half_made_anew_is_not_believed(tmp_path: Path) -> None:
    """Whatever ends the making, and whatever is noted after that: the next run fills it again."""
    ids = damaged_index(tmp_path, lambda raw: raw[:12288] + b"\xff" * (len(raw) - 12288))

    def refill() -> None:
        raise ConnectionError

    seen = SeenIds(tmp_path / "seen" / "Corpus.sqlite", "generation", refill)
    with pytest.raises(ConnectionError):
        read(seen, [*ids, *(f"new {number}" for number in range(500))], start=2000)
    seen.note_covered("train", 2000, 0)
    seen.close()

    with index(tmp_path) as seen:
        assert not seen.covers("train", 2000, 0)


def test_opening_looks_at_few_pages_however_many_there_are(tmp_path: Path) -> None:
    """An index of ten million ids opens as fast as one of ten: damage far behind its start is not looked for."""
    damaged_index(tmp_path, lambda raw: raw[:12288] + b"\xff" * (len(raw) - 12288))

    with index(tmp_path) as seen:
        assert seen.covers("train", 2000, 0)


def test_other_sources_are_not_touched(tmp_path: Path) -> None:
    """Replacing one source's index leaves its neighbours'."""
    neighbour = SeenIds(tmp_path / "seen" / "Corpus2.sqlite", "generation")
    read(neighbour, ["a"])
    neighbour.note_covered("train", 1, 0)
    neighbour.close()
    (tmp_path / "seen" / "Corpus.sqlite").write_bytes(b"broken")

    with index(tmp_path):
        again = SeenIds(tmp_path / "seen" / "Corpus2.sqlite", "generation")
        assert again.covers("train", 1, 0)
        again.close()


@pytest.mark.parametrize("opened", [SeenIds, ClipIndex])
@pytest.mark.parametrize("step", range(3))
def test_an_index_that_cannot_be_opened_is_closed(tmp_path: Path, opened: type, step: int) -> None:
    """Whatever fails in making it anew, no connection stays open: nobody has it who could close it."""
    path = tmp_path / "index.sqlite"
    opened(path, "another").close()

    with watching(KilledAt(step)), suppress(Killed):
        opened(path, "generation").close()

    handles = [handle.readlink() for handle in Path("/proc/self/fd").iterdir() if handle.is_symlink()]
    assert [handle for handle in handles if handle.is_relative_to(tmp_path)] == []
