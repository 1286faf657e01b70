"""The target's state: a value that survives JSON, notices damage, and whose books balance."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import steps
from utils.dataset.state import Part, SourceState, SplitState, State
from utils.errors import TargetRefused
from utils.rows.progress import Progress, Step
from utils.rows.schema import Reject, Skip
from utils.rows.sealed_json import checked_json, json_with_checksum


def part(number: int = 0, rows: int = 10, ids: tuple[tuple[int, int], ...] = ((1, 10),), **fields: object) -> Part:
    progress = steps("k" * rows)[-1].progress if rows else Progress()
    described = {"split": "train", "progress": progress, "duration_s": 2.5, "size_bytes": 1000, "has_rejects": False}
    return Part(source="Corpus", number=number, rows=rows, ids=ids, **{**described, **fields})


def begun() -> State:
    source = SourceState("revision", {"audio.sample_rate_hz": 16_000, "option.x": None}, {"title": "คลังเสียง"})
    return State("generation", 16_000, replaces_old_data=True).with_source("Corpus", source)


def full() -> State:
    """A state with something in every field."""
    state = begun().after(part())
    split = replace(
        state.split("Corpus", "train"),
        earlier=(Progress(read=3, kept=1, rejected=2, finished=True),),
        pass_first_part=1,
    )
    return replace(
        state.with_split("Corpus", "train", split),
        holes=((4, 5), (7, 7)),
        libraries={"pyarrow": "26.0.0"},
        sequence=7,
        run_id="run",
        committed_at="2026-01-01T00:00:00Z",
    )


def test_survives_json() -> None:
    """A state read back is equal to the one written, to the last field."""
    assert State.from_json(full().to_json()) == full()


def test_equal_states_are_equal_bytes() -> None:
    """What is sent again after a lost answer is the same file."""
    assert full().to_json() == State.from_json(full().to_json()).to_json()


def test_any_changed_byte_is_noticed() -> None:
    """A state with any one character changed is refused, never believed."""
    raw = full().to_json()

    for at in range(0, len(raw), 7):
        changed = raw[:at] + (b"8" if raw[at : at + 1] != b"8" else b"9") + raw[at + 1 :]
        with pytest.raises(TargetRefused, match=r"damaged|another version"):
            State.from_json(changed)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b'"state"', b"\xff\xfe", b"{", full().to_json()[:-100]])
def test_what_is_no_state_is_refused_never_empty(raw: bytes) -> None:
    """Cannot tell is not empty; the message says what to do."""
    with pytest.raises(TargetRefused, match="damaged.*Nothing was changed.*Restore"):
        State.from_json(raw)


@pytest.mark.parametrize("version", [0, 2, "1"])
def test_another_version_is_refused(version: object) -> None:
    """A sound state of another version is not guessed at."""
    content = checked_json(full().to_json())

    with pytest.raises(TargetRefused, match="another version"):
        State.from_json(json_with_checksum({**content, "version": version}))


def test_unknown_field_is_refused() -> None:
    """A field that we don't know may mean something."""
    content = checked_json(full().to_json())

    with pytest.raises(TargetRefused, match="damaged"):
        State.from_json(json_with_checksum({**content, "removed": []}))


def test_checksum_is_over_the_content_not_the_layout() -> None:
    """People may look at the file with tools that lay it out anew."""
    content = json.loads(full().to_json())

    assert State.from_json(json.dumps(content, sort_keys=True).encode()) == full()


@pytest.mark.parametrize(
    "books", [{"read": 1}, {"kept": 1}, {"read": 3, "kept": 1, "rejected": 1}, {"read": 1, "unselected": 1, "known": 1}]
)
def test_books_that_do_not_balance_cannot_be_made(books: dict[str, int]) -> None:
    """read == kept + rejected + unselected + known, always."""
    with pytest.raises(ValueError, match="do not balance"):
        Progress(**books)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.text("krun", max_size=30))
def test_progress_counts_each_outcome_once(outcomes: str) -> None:
    """After any clips the books are the counts of their outcomes, and the position is the last clip's."""
    taken = steps(outcomes)
    last = taken[-1].progress if taken else Progress()

    counts = (last.kept, last.rejected, last.unselected, last.known)
    assert (last.read, counts) == (len(outcomes), tuple(map(outcomes.count, "krun")))
    assert [step.ordinal for step in taken] == list(range(1, len(outcomes) + 1))
    assert last.position["index"] == len(outcomes)


def test_reading_on_is_not_finished() -> None:
    """A split that is read further is not finished any more."""
    finished = Progress({"index": 1}, read=1, rejected=1, finished=True)

    assert not finished.after({"index": 2}, Skip.KNOWN).finished
    assert Step(finished.after({"index": 2}, Reject("x", "silent")), Reject("x", "silent")).ordinal == 2


def test_after_a_part_names_the_next_ids() -> None:
    """Parts extend the IDs, the counts and the totals, and end the reign of the old data."""
    one = begun().after(part())
    two = one.after(part(1, rows=5, ids=((11, 15),), duration_s=1.0))

    split = two.split("Corpus", "train")
    assert (one.next_id, two.next_id) == (11, 16)
    assert (split.parts, split.published, split.ids, split.duration_s, split.size_bytes) == (
        2,
        15,
        ((1, 15),),
        3.5,
        2000,
    )
    assert begun().replaces_old_data
    assert not one.replaces_old_data


def test_ids_of_two_splits_interleave() -> None:
    """IDs go over all splits and sources: a split's may have gaps, which its ranges show."""
    state = begun().after(part()).after(part(split="test", ids=((11, 20),))).after(part(1, ids=((21, 30),)))

    assert state.split("Corpus", "train").ids == ((1, 10), (21, 30))
    assert state.next_id == 31


def test_part_without_rows_moves_the_position_only() -> None:
    """Rejects alone, or the mere end of a split, take no ID."""
    ended = Progress({"index": 12}, read=12, kept=10, rejected=2, finished=True)
    state = begun().after(part()).after(part(1, rows=0, ids=(), progress=ended, duration_s=0.0, size_bytes=0))

    assert (state.next_id, state.split("Corpus", "train").published) == (11, 10)
    assert state.split("Corpus", "train").progress == ended
    assert state.sources["Corpus"].finished


@pytest.mark.parametrize("number", [0, 2])
def test_part_that_does_not_follow_is_refused(number: int) -> None:
    """A part is published once, and none is left out."""
    with pytest.raises(ValueError, match="does not follow"):
        begun().after(part()).after(part(number))


def test_same_dataset_ignores_only_who_and_when() -> None:
    """Run id, sequence number and time may differ; whatever else differs is another dataset."""
    state = full()

    assert state.same_dataset(replace(state, run_id="other", sequence=99, committed_at="later"))
    assert not state.same_dataset(None)
    for other in (
        replace(state, generation="other"),
        replace(state, sample_rate_hz=None),
        replace(state, next_id=12),
        replace(state, holes=()),
        replace(state, replaces_old_data=True),
        replace(state, libraries={}),
        replace(state, sources={}),
        state.with_split("Corpus", "train", SplitState()),
        state.with_source("Corpus", replace(state.sources["Corpus"], revision="other")),
        state.with_source("Corpus", replace(state.sources["Corpus"], fingerprint={})),
    ):
        assert not state.same_dataset(other)


def test_rejects_of_earlier_revisions_count() -> None:
    """A split's rejects are those of all revisions that were read."""
    assert full().split("Corpus", "train").rejected == 2


def test_source_without_splits_is_not_finished() -> None:
    """Nothing known is not everything done."""
    assert not begun().sources["Corpus"].finished
    assert State("generation").split("Nobody", "train") == SplitState()


@pytest.mark.parametrize(
    "position",
    [
        {"index": 3},
        {"index": 3, "file": 'คลัง "1"\\\n.parquet', "row": 0},
        {"index": 2**70, "is_new": True, "part": None, "share": 0.5, "names": ["ก", 1], "more": {"a": {}}},
        {"ชื่อ\t": "\ud800"},
    ],
)
def test_progress_with_a_row_is_what_it_was(position: dict[str, object]) -> None:
    """Written with every row by our own hand; read as JSON."""
    progress = Progress(position, read=4, kept=1, rejected=1, unselected=1, known=1, finished=True)

    assert Progress(**json.loads(progress.as_json())) == progress
    assert '"is_new":true' in Progress({"is_new": True}).as_json()
