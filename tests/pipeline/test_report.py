"""What people see in the terminal: the list of sources, the status of a target, the summary of a run."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.terminal.report import status_report, summary
from pipeline.terminal.source_list import source_list
from pipeline.terminal.typesetting import WIDTH, display_width
from processors.source_info import SourceInfo
from utils.dataset.state import SourceState, SplitState, State
from utils.rows.progress import Progress

GIGASPEECH = SourceInfo(
    title="GigaSpeech 2",
    url="https://huggingface.co/datasets/speechcolab/gigaspeech2",
    licence="other",
    licence_name="GigaSpeech 2 terms of use (research and education)",
    hours="10,262 (refined), 12,902 (raw)",
    mirror="speechcolab/gigaspeech2",
    repo_id="speechcolab/gigaspeech2",
    access="gated: ask for access on its page, then log in with `hf auth login`",
    terms="Non-commercial research and education only; the authors do not own the audio. " * 2,
)
COMMON_VOICE = SourceInfo(
    title="Common Voice ไทย",
    url="https://commonvoice.example/th",
    licence="cc0-1.0",
    licence_name="",
    hours="427",
    mirror="common_voice",
)


def progress(kept: int, rejected: int = 0, unselected: int = 0, known: int = 0, finished: bool = False) -> Progress:
    read = kept + rejected + unselected + known
    return Progress({"index": read, "file": "ก.tar.gz"}, read, kept, rejected, unselected, known, finished)


def split(books: Progress, **more: Any) -> SplitState:
    return SplitState(**{"progress": books, "published": books.kept, "duration_s": 2.0 * books.kept, **more})


def state_of(**sources: dict[str, SplitState]) -> State:
    last_id = sum(one.published for splits in sources.values() for one in splits.values())
    return State(
        generation="g1",
        next_id=last_id + 1,
        sources={name: SourceState("rev", {}, {}, splits) for name, splits in sources.items()},
    )


@pytest.fixture
def state() -> State:
    """GigaSpeech2 finished in test and under way in train; Common Voice finished."""
    return state_of(
        GigaSpeech2={
            "train": split(progress(1200, 20, unselected=2), size_bytes=45_600_000),
            "test": split(progress(30, 1, finished=True)),
        },
        MozillaCommonVoice={"validation": split(progress(60, finished=True))},
    )


def row(text: str, label: str, after: str = "") -> list[str]:
    """The cells of the first row with this label, below the line `after`."""
    below = text[text.index(after) :]
    return next(line.split() for line in below.splitlines() if line.split()[:1] == [label])


def assert_narrow(text: str) -> None:
    assert max(display_width(line) for line in text.splitlines()) <= WIDTH


# --- list ------------------------------------------------------------------------------------


def test_the_list_tells_hours_licence_access_and_terms_within_the_width() -> None:
    """Long texts are wrapped in their column, not cut; addresses stay whole."""
    text = source_list({"GigaSpeech2": GIGASPEECH, "MozillaCommonVoice": COMMON_VOICE})

    assert_narrow(text)
    words = " ".join(text.split())
    assert all(
        word in words for info in (GIGASPEECH, COMMON_VOICE) for word in [*info.hours.split(), info.url, info.title]
    )
    assert all(word in words for word in f"{GIGASPEECH.licence_name} {GIGASPEECH.access} {GIGASPEECH.terms}".split())
    assert "cc0-1.0" in row(text, "MozillaCommonVoice")
    assert text.count("Terms:") == 1


def test_an_empty_registry_is_said_to_be_empty() -> None:
    """No table without rows."""
    assert source_list({}) == "There are no sources."


# --- status ----------------------------------------------------------------------------------


def test_the_status_has_every_split_with_its_books_and_position(state: State) -> None:
    """Published, rejected, unselected, staged, duration; where reading goes on, or that it is finished."""
    text = status_report(state, "data/thai-voice", {("GigaSpeech2", "train"): 45})

    assert_narrow(text)
    assert "data/thai-voice" in text
    assert "1,290 clips, 43.0 min, 45.6 MB, IDs S1 to S1290." in text
    assert row(text, "train") == ["train", "1,200", "20", "2", "45", "40.0", "min", "unfinished"]
    assert row(text, "test") == ["test", "30", "1", "0", "0", "1.0", "min", "finished"]
    assert row(text, "validation") == ["validation", "60", "0", "0", "0", "2.0", "min", "finished"]
    assert 'next position: {"index":1222,"file":"ก.tar.gz"}' in text
    assert text.count("next position") == 1


def test_the_status_counts_what_earlier_revisions_of_a_source_left_out() -> None:
    """The totals are those of the dataset, not of the last pass over a source."""
    books = split(progress(2, 1, known=12), earlier=(progress(10, 2, 5, finished=True),), published=12)
    text = status_report(state_of(A={"train": books}), "here")

    assert row(text, "train")[:4] == ["train", "12", "3", "5"]


def test_samples_staged_for_a_split_that_is_not_published_yet_are_told(state: State) -> None:
    """A first run that died before its first commit is not nothing."""
    text = status_report(state, "here", {("ProcessedVoiceTH", "train"): 7, ("ProcessedVoiceTH", "test"): 0})

    assert row(text, "train", after="ProcessedVoiceTH")[:5] == ["train", "0", "0", "0", "7"]
    assert "test" not in text[text.index("ProcessedVoiceTH") :]


def test_a_target_without_a_dataset_is_explained() -> None:
    """What there is not, what is staged nevertheless, and how to begin."""
    text = status_report(None, "me/thai-voice", {("GigaSpeech2", "test"): 1500})

    assert "no dataset of ours in me/thai-voice" in text
    assert "1,500 samples of GigaSpeech2/test" in text
    assert "python main.py --fresh --all" in text


def test_a_dataset_without_sources_is_explained() -> None:
    """A state of nothing is an answer, too."""
    text = status_report(State("g1"), "here")

    assert "no clips yet" in text
    assert "No source has been read yet." in text


def test_old_data_that_a_fresh_start_has_not_replaced_yet_is_told(state: State) -> None:
    """Nobody should take the old clips for the new ones."""
    begun = State("g2", replaces_old_data=True)

    assert "old data is still in place" in status_report(begun, "here")
    assert "old data is still in place" in summary(begun, "here", {})
    assert "old data" not in status_report(state, "here")


# --- summary ---------------------------------------------------------------------------------


def test_the_summary_has_the_books_of_every_split_and_a_total(state: State) -> None:
    """Splits that this run did not touch are told from the state; the last line of the table sums up."""
    text = summary(state, "data/thai-voice", {("GigaSpeech2", "train"): progress(1240, 25, unselected=2)})

    assert_narrow(text)
    assert row(text, "read") == ["read", "kept", "rejected", "unselected", "staged", "published", "duration"]
    assert row(text, "train") == ["train", "1,267", "1,240", "25", "2", "40", "1,200", "40.0", "min"]
    assert row(text, "test") == ["test", "31", "30", "1", "0", "0", "30", "1.0", "min"]
    assert row(text, "all") == ["all", "1,358", "1,330", "26", "2", "40", "1,290", "43.0", "min"]


def test_splits_that_a_source_does_not_have_take_no_line() -> None:
    """Most corpora are all train; of one without any clip at all that is worth saying."""
    nothing = split(progress(0, finished=True))
    text = summary(state_of(A={"train": split(progress(3)), "test": nothing}, B={"train": nothing}), "here", {})

    assert [line.split()[:2] for line in text.splitlines() if line.startswith("  t")] == [
        ["train", "3"],
        ["train", "0"],
    ]


def test_the_summary_says_that_the_books_balance(state: State) -> None:
    """Law 7 in figures, with every way a clip may have gone."""
    text = summary(state, "here", {("GigaSpeech2", "train"): progress(1240, 25, unselected=2)})

    said = " ".join(text.split())
    assert (
        "The books balance: read 1,358 = kept 1,330 + rejected 26 + unselected 2; "
        "kept 1,330 = published 1,290 + staged 40." in said
    )


def test_removed_clips_are_part_of_the_books() -> None:
    """A hole in the numbering stands for a clip that was kept once."""
    books = state_of(A={"train": split(progress(10, finished=True), published=8)})
    text = summary(replace(books, next_id=11, holes=((3, 4),)), "here", {})

    assert "kept 10 = published 8 + removed 2." in " ".join(text.split())
    assert "IDs S1 to S10 but for 2" in text


@pytest.mark.parametrize(("published", "said"), [(7, "3 too few"), (12, "2 too many")])
def test_books_that_do_not_balance_are_told_and_by_how_much(published: int, said: str) -> None:
    """A lost or doubled clip is never hidden in a total."""
    books = state_of(A={"train": split(progress(10, finished=True), published=published)})
    text = " ".join(summary(books, "here", {}).split())

    assert "THE BOOKS DO NOT BALANCE" in text
    assert f"kept 10 is not published {published}: {said}" in text
    assert "The books balance" not in text


def test_clips_known_from_an_earlier_revision_are_counted_and_balance() -> None:
    """A second pass over a source reads what is published again; it is neither kept nor rejected twice."""
    books = split(progress(3, 1, known=12, finished=True), earlier=(progress(10, 2, finished=True),), published=13)
    text = " ".join(summary(state_of(A={"train": books}), "here", {}).split())

    assert "The books balance: read 28 = kept 13 + rejected 3 + known 12; kept 13 = published 13." in text


def test_the_summary_says_where_the_dataset_is_and_how_to_load_it(state: State) -> None:
    """The line of Python runs as it stands, whatever the path."""
    where = 'data/เสียง "ไทย"'
    text = summary(state, where, {})

    line = next(line.strip() for line in text.splitlines() if "load_dataset(" in line)
    program = compile(line, "summary", "exec")
    assert where in program.co_consts


def test_a_dataset_without_clips_is_not_offered_for_loading() -> None:
    """There is nothing that `load_dataset` could open."""
    text = summary(State("g1"), "here", {})

    assert "No clips were read." in text
    assert "no clips yet" in text
    assert "load_dataset" not in text


def test_failures_say_what_to_do_and_the_next_command_is_whole(state: State) -> None:
    """The message of each source that failed, and a command that can be copied, however long."""
    command = "python main.py --fresh --all --resume --output " + "/a/long/path" * 12
    failures = {"GigaSpeech2": "It is gated.\n\nVisit https://hf.example/x and accept its terms. " + "ไทย" * 60}
    text = summary(state, "here", {}, failures, command)

    assert "GigaSpeech2 could not be read:\n    It is gated.\n    Visit https://hf.example/x" in text
    assert text.endswith(f"\n    {command}")
    assert_narrow(text.replace(command, ""))


def test_a_source_that_failed_at_once_has_no_zeros_and_no_green_books(state: State) -> None:
    """Nothing is known of its clips; what was read of others balances, and is not called all."""
    failed = {("Gone", split): progress(0) for split in ("test", "train")}

    alone = summary(State("g1"), "here", failed, {"Gone": "It is gated."}, colour=True)
    assert "Gone\n" not in alone
    assert "No clips were read." in alone
    assert "balance" not in alone
    beside = summary(state, "here", failed, {"Gone": "It is gated."}, colour=True)
    assert "Gone\n" not in beside
    assert "\nThe books of what was read balance: " in beside


def test_reject_reasons_are_summed_by_source_the_commonest_first(state: State) -> None:
    """Why clips were refused; sources without rejects are left out."""
    reasons = {
        ("GigaSpeech2", "train"): Counter(silent=2, too_short=3),
        ("GigaSpeech2", "test"): Counter(silent=2),
        ("MozillaCommonVoice", "test"): Counter(),
    }
    text = summary(state, "here", {}, reasons=reasons)

    assert (
        "Rejected in this run (which clips, and why: rejected/ in the dataset):\n  GigaSpeech2: 4 silent, 3 too_short\n"
        in text
    )
    assert "Rejected in this run" not in summary(state, "here", {})


def test_nothing_to_do_is_the_first_thing_said(state: State) -> None:
    """Somebody who runs the command again learns at once that all is well."""
    text = summary(state, "here", {}, nothing_to_do=True)

    assert text.startswith("Nothing to do: everything is published already.")
    assert "The books balance" in text


def test_colour_is_used_only_when_asked_for_and_changes_no_word(state: State) -> None:
    """A log file or a pipe gets plain text."""
    plain = summary(state, "here", {}, {"A": "gone"}, "go on")
    coloured = summary(state, "here", {}, {"A": "gone"}, "go on", colour=True)

    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


# --- widths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("ที่นี่", 2), ("กำ", 2), ("音声", 4), ("e\u0301\u200b", 1), ("", 0)]
)
def test_the_display_width_counts_columns_not_characters(text: str, width: int) -> None:
    """Thai vowel and tone marks stand above and below their letter; Chinese characters are two wide."""
    assert display_width(text) == width


def test_columns_stay_aligned_with_thai_names() -> None:
    """Figures of a split with a Thai name end where the others end."""
    text = summary(state_of(A={"ที่หนึ่ง": split(progress(5)), "train": split(progress(7))}), "here", {})

    ends = {display_width(line) for line in text.splitlines() if line.startswith(("  ที่หนึ่ง", "  train", "all"))}
    assert len(ends) == 1


def test_the_largest_sources_with_every_column_shown_fit_the_width() -> None:
    """Ten million clips, a second revision, samples staged: the gaps give way, not labels and figures."""
    huge = progress(9_557_264, 1_000_000, 9_557_264, 9_557_264)
    split_state = split(huge, earlier=(huge,), published=2 * huge.kept, duration_s=36e6)
    state = state_of(**{"ASourceWithQuiteALongName" * 5: {"validation": split_state}})
    ahead = replace(huge, read=huge.read + 999_999, kept=huge.kept + 999_999)
    text = summary(state, "here", {("ASourceWithQuiteALongName" * 5, "validation"): ahead})

    assert_narrow(text)
    assert row(text, "validation")[2] == "20,114,527"
    assert_narrow(status_report(state, "here", {("ASourceWithQuiteALongName" * 5, "validation"): 999_999}))


@settings(max_examples=60, deadline=None, database=None)
@given(name=st.text(min_size=1, max_size=60), message=st.text(max_size=300), rows=st.integers(0, 10**9))
def test_text_of_others_neither_widens_the_page_nor_steers_the_terminal(name: str, message: str, rows: int) -> None:
    """No control character of a name, a term or a message is printed; addresses alone may be wider."""
    name, message = name.replace("://", "") or "x", message.replace("://", "")
    info = SourceInfo(title=name, url=name, licence=name, licence_name=name, hours=name, mirror=name, terms=message)
    state = state_of(**{name: {name: split(progress(rows))}})
    reasons = {(name, name): Counter({name: 1})}

    for text in (
        source_list({name: info}),
        status_report(state, "here", {(name, "train"): rows}),
        summary(state, "here", {}, {name: message}, reasons=reasons),
    ):
        assert_narrow(text)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2028]", text)


def test_an_escape_sequence_in_a_message_is_harmless(state: State) -> None:
    """A server's answer can't clear the screen."""
    text = summary(state, "he\x1b[2Jre", {}, {"A\x1b[31m": "gone\x1b[2J\u202e"})

    assert "\x1b" not in text
    assert "\u202e" not in text


def test_an_append_says_how_much_is_new(state: State) -> None:
    """The table counts all that was ever read; a first run needs no such word."""
    assert f"New in this run: {state.rows - 3:,}." in summary(state, "here", {}, rows_before=3)
    assert "New in this run" not in summary(state, "here", {})


def test_how_a_mended_clip_comes_in_is_said(state: State) -> None:
    """After a run that rejected such clips, and where a later one passes over them."""
    place = next((name, of) for name, source in state.sources.items() for of in source.splits)
    hint = "comes in with --fresh alone"

    def told(**more: Any) -> str:
        return " ".join(summary(state, "out", **{"this_run": {}, **more}).split())

    for reason in ("missing_audio", "truncated"):
        assert hint in told(reasons={place: Counter({reason: 1})})
    assert hint not in told(reasons={place: Counter({"silent": 2})})
    rejecting = state_of(Mine={"train": split(progress(2, rejected=1, finished=True))})
    plain = state_of(Mine={"train": split(progress(3, finished=True))})
    for this_run, idle in (({}, True), ({("Mine", "train"): progress(0, known=3, finished=True)}, False)):
        for books, is_said in ((rejecting, True), (plain, False)):
            assert (hint in " ".join(summary(books, "out", this_run, nothing_to_do=idle).split())) == is_said
