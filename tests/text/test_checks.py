"""What a transcript says against its clip, transcripts without punctuation, and that defaults change nothing."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.cli import parse
from pipeline.options import Options
from pipeline.run.source_run import fingerprint
from processors.engine.conversion import convert_clip
from tests.audit.test_verify import broken, checked
from tests.small_runs import SOURCE, small_run, write_mirror
from tests.support import published_rows, tone
from utils.choices import AudioOptions, TextOptions
from utils.errors import TargetRefused, UsageError
from utils.rows.schema import DIALOGUE, RawClip, Reject
from utils.text import checks as text_checks
from utils.text.checks import count_foreign, rate_problem, text_problem, without_punctuation
from utils.text.normalize import normalize_transcript

mixed = st.lists(
    st.sampled_from("กาำ่้ ๆฯ฿๐๕๏๚Aez09éİß日ру한😀\u0301 '’.,:;!?-%&@#$+=<>\"“”…–\u200b()[]{}|~^`_*/\\\u00b0\t")
).map("".join)


# --- foreign characters ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "foreign", "counted"),
    [
        ("สวัสดี OK ๑๒ 34", 0, 12),
        ("ราคา 50 ฿!", 0, 7),
        ("日本 ok", 2, 4),
        ("привет", 6, 6),
        ("ดี 😀 = ดี", 2, 6),
        ("“ดี”…, (ok)", 0, 4),
        ("café naïve ｏｋ", 0, 11),
        (" ?! ", 0, 0),
        ("", 0, 0),
    ],
)
def test_characters_are_counted_by_their_script(text: str, foreign: int, counted: int) -> None:
    """Thai, Latin with its accents, digits of both kinds; neither white space nor punctuation counts at all."""
    assert count_foreign(text) == (foreign, counted)


@given(mixed)
@settings(deadline=None, database=None, derandomize=True)
def test_the_quick_look_counts_as_the_slow_one(text: str) -> None:
    """Most transcripts have nothing but Thai and ASCII, and are counted without a look at each character."""
    kinds = [text_checks._kind(char) for char in text]

    assert count_foreign(text) == (kinds.count("foreign"), len(kinds) - kinds.count("skipped"))


def test_a_share_of_foreign_characters_is_refused_above_the_limit() -> None:
    """Up to it, and without a limit, nothing is."""
    half = TextOptions(max_foreign_share=0.5)

    assert text_problem("ดี日本", half) is None
    assert text_problem("日本語 ด", half) == (
        "foreign_text",
        "3 of 4 characters are neither Thai nor Latin nor digits; up to 0.5 of them may be",
    )
    assert text_problem("日本語", TextOptions()) is None
    assert text_problem("...", TextOptions(max_foreign_share=0.0)) is None


# --- no transcript, speaking rates -----------------------------------------------------------


def test_a_clip_without_a_transcript_is_refused_only_on_request() -> None:
    """With a reason of its own."""
    assert text_problem("", TextOptions()) is None
    assert text_problem("ดี", TextOptions(require_transcript=True)) is None
    problem = text_problem("", TextOptions(require_transcript=True))
    assert problem is not None
    assert problem[0] == "no_transcript"


def test_a_transcript_of_punctuation_alone_is_none_once_that_is_stripped() -> None:
    """It is empty in the dataset, so it has no confidence, and is refused where one is asked for."""
    clip = RawClip("a", {}, tone(1), "a.wav", " ... ")
    strip = TextOptions(strip_punctuation=True)

    row = convert_clip(clip, "Any", "train", AudioOptions(), strip)
    reject = convert_clip(clip, "Any", "train", AudioOptions(), replace(strip, require_transcript=True))

    assert isinstance(row, dict)
    assert (row["transcript"], row["confidence_score"]) == ("", 0.0)
    assert isinstance(reject, Reject)
    assert reject.reason == "no_transcript"


def test_what_nobody_can_have_spoken_is_refused() -> None:
    """Too fast and too slowly; the limits themselves are no offence; no transcript says nothing."""
    limits = TextOptions(max_chars_per_second=20, min_chars_per_second=2)

    assert rate_problem("ก" * 40, 2.0, limits) is None
    assert rate_problem("กกกก", 2.0, limits) is None
    assert rate_problem("ก" * 41 + " , .", 2.0, limits) == (
        "spoken_too_fast",
        "41 characters in 2.000 s: 20.5 a second, over 20",
    )
    assert rate_problem("ก ก ก", 2.0, limits) == (
        "spoken_too_slowly",
        "3 characters in 2.000 s: 1.5 a second, under 2",
    )
    assert rate_problem("", 2.0, limits) is None
    assert rate_problem("...", 2.0, limits) is None
    assert rate_problem("ก" * 400, 2.0, TextOptions()) is None


def test_text_is_looked_at_before_audio_is_decoded() -> None:
    """A clip that its text speaks against is refused for that, whatever its audio is."""
    clip = RawClip("1", {"index": 1}, b"no audio at all", transcript="   ")

    outcome = convert_clip(clip, "Corpus", "train", AudioOptions(), TextOptions(require_transcript=True))

    assert isinstance(outcome, Reject)
    assert outcome.reason == "no_transcript"


# --- punctuation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("“ใช่”, เขาพูด… (หัวเราะ)!", "ใช่ เขาพูด หัวเราะ"),
        ("don't — it's “ok”", "don't it's ok"),
        ("rock 'n' roll", "rock n roll"),
        ("1,250.50 บาท เวลา 10:30.", "1,250.50 บาท เวลา 10:30"),
        ("พ.ศ. ๒๕๖๗", "พ ศ ๒๕๖๗"),
        ("100% R&D @home #1", "100% R&D @home #1"),
        ("มากๆ ฯลฯ ๏ ๛", "มากๆ ฯลฯ"),
        ("A-B_c/d\\e", "A B c d e"),
        ("ไม่มี", "ไม่มี"),
        ("?!", ""),
        ("", ""),
    ],
)
def test_punctuation_goes_and_what_is_spoken_stays(text: str, stripped: str) -> None:
    """Apostrophes inside Latin words, separators inside numbers, signs that are read out, mai yamok, paiyannoi."""
    assert without_punctuation(normalize_transcript(text)) == stripped


@given(mixed)
@example("ก.่")
@example("1.\u0e49" + "5")
@example("a'\u0301b")
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_text_without_punctuation_stays_as_it_is(text: str) -> None:
    """Stripping twice is stripping once, and what comes out is normal."""
    once = without_punctuation(normalize_transcript(text))

    assert without_punctuation(once) == once
    assert normalize_transcript(once) == once


# --- in a run --------------------------------------------------------------------------------


def test_by_default_nothing_is_other_than_it_was() -> None:
    """The fingerprint of what was begun without these options is the one that it had."""
    assert not any(name.startswith("text.") for name in fingerprint(Options(), SOURCE))


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (["--strip-punctuation"], {"text.strip_punctuation": True}),
        (["--no-keep-raw"], {"text.keep_raw": False}),
        (["--keep-raw"], {}),
        (["--require-transcript"], {"text.require_transcript": True}),
        (["--max-foreign-share", "0.2"], {"text.max_foreign_share": 0.2}),
        (["--max-chars-per-second", "25"], {"text.max_chars_per_second": 25.0}),
        (["--min-chars-per-second", "0.5"], {"text.min_chars_per_second": 0.5}),
    ],
)
def test_each_option_is_part_of_the_fingerprint_of_speech(given: list[str], option: dict[str, Any]) -> None:
    """And of nothing else: rows without audio have no transcripts."""
    options = parse(["--fresh", SOURCE, *given])

    plain = fingerprint(parse(["--fresh", SOURCE]), SOURCE)
    assert fingerprint(options, SOURCE) == {**plain, **option}
    assert fingerprint(options, "Apify", DIALOGUE) == fingerprint(Options(), "Apify", DIALOGUE)


@pytest.mark.parametrize(
    "given",
    [
        ["--max-foreign-share", "1.5"],
        ["--max-foreign-share", "nan"],
        ["--max-chars-per-second", "0"],
        ["--max-chars-per-second", "inf"],
        ["--min-chars-per-second", "30", "--max-chars-per-second", "25"],
    ],
)
def test_limits_that_make_no_sense_are_refused(given: list[str]) -> None:
    """Before anything runs."""
    with pytest.raises(UsageError, match="must be"):
        parse(["--fresh", SOURCE, *given])


def test_a_run_counts_what_it_refuses_by_reason(tmp_path: Path) -> None:
    """The books balance, the rejects say why, the column of raw transcripts stays, and --verify finds it sound."""
    write_mirror(tmp_path / "mirrors", {"train": range(6), "validation": [20], "test": [30]})
    path = next((tmp_path / "mirrors").rglob("train-*.parquet"))
    table = pq.read_table(path, partitioning=None)
    sentences = ["ดี “มาก”!", "", "日本語", "ก" * 200, "ดีๆ", "ก"]
    pq.write_table(table.set_column(1, "sentence", [sentences]), path)
    text = TextOptions(
        strip_punctuation=True,
        keep_raw=False,
        require_transcript=True,
        max_foreign_share=0.3,
        max_chars_per_second=60,
        min_chars_per_second=5,
    )

    result = small_run(tmp_path, text=text)

    out = tmp_path / "out"
    # The third clip is silent, too; its text is looked at first.
    assert result.reasons[SOURCE, "train"] == {
        "no_transcript": 1, "foreign_text": 1, "spoken_too_fast": 1, "spoken_too_slowly": 1,
    }  # fmt: skip
    rows = published_rows(out, ["transcript", "transcript_raw", "confidence_score"]).to_pylist()
    assert [tuple(row.values()) for row in rows if "ประโยค" not in row["transcript"]] == [
        ("ดี มาก", None, 1.0),
        ("ดีๆ", None, 1.0),
    ]
    assert broken(checked(out, deep=True)) == {}
    with pytest.raises(TargetRefused, match=r"text\.max_foreign_share: it was 0.3, now None"):
        small_run(tmp_path, fresh=False)


def test_the_options_say_what_is_not_as_by_default() -> None:
    """Each of them, by its name."""
    assert TextOptions().changed() == {}
    every = TextOptions(True, False, True, 0.1, 30.0, 1.0)
    assert every.changed() == asdict(every)


def test_samples_keep_the_raw_transcript_unless_told_otherwise() -> None:
    """As the source has it, to the last space."""
    clip = RawClip("1", {"index": 1}, tone(1), transcript=" เเม่ ")

    outcome = convert_clip(clip, "Corpus", "train", AudioOptions())

    assert isinstance(outcome, dict)
    assert (outcome["transcript"], outcome["transcript_raw"]) == ("แม่", " เเม่ ")
