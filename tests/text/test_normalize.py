"""What normalizing a transcript changes, what it must not change, and that it is finished after one call."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.text import normalize as text_module
from utils.text.normalize import TEXT_VERSION, normalize_transcript

THAI_MARKS = "\u0e31\u0e34\u0e35\u0e36\u0e37\u0e38\u0e39\u0e3a\u0e47\u0e48\u0e49\u0e4a\u0e4b\u0e4c\u0e4d\u0e4e"
THAI_VOWELS = "\u0e30\u0e32\u0e33\u0e40\u0e41\u0e42\u0e43\u0e44\u0e45\u0e24\u0e26"
OTHERS = "กขงนๆฯ๑2Aé.e\u0301\u0327 \n\t\u00a0\u200b\u200d\ufeff\x00"

thai_like = st.lists(st.sampled_from(THAI_MARKS * 2 + THAI_VOWELS * 2 + OTHERS), max_size=40).map("".join)


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("น\u0e4d\u0e32", "น\u0e33"),
        ("น\u0e4d\u0e49\u0e32", "น\u0e49\u0e33"),
        ("น\u0e49\u0e4d\u0e32", "น\u0e49\u0e33"),
        ("น\u0e33\u0e49", "น\u0e49\u0e33"),
        ("ก\u0e4d\u0e45", "ก\u0e33"),
    ],
    ids=["plain", "tone-between", "tone-before", "tone-after", "lakkhangyao"],
)
def test_sara_am_has_one_spelling(raw, normal):
    """Nikhahit and sara aa, with or without a tone mark in any place, are sara am."""
    assert normalize_transcript(raw) == normal


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("\u0e40\u0e40ม่", "แม่"),
        ("ก\u0e48\u0e34ง", "ก\u0e34\u0e48ง"),
        ("สิทธ\u0e4c\u0e34", "สิทธ\u0e34\u0e4c"),
        ("ก\u0e48\u0e38", "ก\u0e38\u0e48"),
        ("ม\u0e32\u0e48", "ม\u0e48\u0e32"),
        ("ก\u0e49\u0e49าว", "ก้าว"),
        ("ก\u0e47\u0e47", "ก็"),
        ("ด\u0e35\u0e35\u0e35", "ดี"),
        ("มาาาก", "มาก"),
        ("น \u0e49ำ", "น้ำ"),
        ("\u0e49คำ", "คำ"),
    ],
)
def test_vowels_and_tone_marks_stand_once_and_in_order(raw, normal):
    """What looks the same on the screen, or can't be meant, gets its standard spelling."""
    assert normalize_transcript(raw) == normal


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("  สวัสดี \t ครับ\r\nผม ", "สวัสดี ครับ ผม"),
        ("สวัสดี\u00a0\u00a0ครับ\u3000ผม\u2028", "สวัสดี ครับ ผม"),
        ("สวัสดี\x00\x1b\x85ครับ", "สวัสดี ครับ"),
        ("\ufeffสวัส\u200bดี\u200c\u200d\u2060ครับ\u00ad", "สวัสดีครับ"),
        ("\u202bสวัสดี\u202c", "สวัสดี"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("กี\ud800่", "กี\ufffd่"),
        ("\u200b \n", ""),
        ("", ""),
    ],
)
def test_white_space_is_single_spaces_and_nothing_is_invisible(raw, normal):
    """No break, tab, control character, zero-width character or byte order mark is left; text is composed (NFC)."""
    assert normalize_transcript(raw) == normal


@pytest.mark.parametrize(
    "text",
    [
        "The QUICK brown fox, o'clock: 100% (e.g. A-1)!",
        "โทร ๐๘๑-234-5678 ภายใน 24 ชม.",
        "พ.ศ. ๒๕๖๗ ราคา 1,250.50 ฿",
        "มาก ๆ",
        "มากๆ",
        "ฮ่าๆๆๆ 5555",
        "มากกกกก ว้ายยย",
        "กรุงเทพฯ ฯลฯ",
        "“ใช่” เขาพูด… (หัวเราะ)",
        "ฤๅษี ฦๅชา",
        "อตฺตา ธมฺโม สํฆ",
        "เกมส๎",
        "ธรรม สรรค์ ก็ น้ำ ปี่ ผู้ เก้า เปลี่ยน ไม่ใช่",
        "OK ครับ CEO ของ Google",
        "ﬁ ① ｆｕｌｌ Ⅳ",
        "日本語 한국어 ру́сский",
    ],
)
def test_what_was_said_is_not_touched(text):
    """Latin text, case, digits of both kinds, punctuation, mai yamok, repeated consonants, Pali, other scripts."""
    composed = unicodedata.normalize("NFC", text)

    assert normalize_transcript(composed) == composed


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(thai_like)
@example("ก\u0e4d\u0e45")
@example("ก" + "\u0e32\u0e48" * 300)
@example(" \u0e48" * 50)
@example("\u0e40" * 33)
def test_normal_text_stays_as_it_is(text):
    """Normalizing twice is normalizing once, whatever order the marks come in and however long they go on."""
    once = normalize_transcript(text)

    assert normalize_transcript(once) == once
    assert once == once.strip()
    assert "  " not in once
    assert not set(once) & set("\n\t\u00a0\u200b\u200d\ufeff\x00")


def test_the_users_home_stays_empty(tmp_path):
    """pythainlp makes a data folder in the home of whoever imports it; here it does not, and it warns of nothing."""
    code = (
        "from utils.text.normalize import normalize_transcript; "
        "print(ascii(normalize_transcript('\\u0e40\\u0e40\\u0e01')))"
    )
    known = {"PYTHAINLP_READ_ONLY", "PYTHAINLP_READ_MODE", "PYTHAINLP_DATA", "PYTHAINLP_DATA_DIR"}
    environment = {name: value for name, value in os.environ.items() if name not in known}

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        env={**environment, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (run.stdout.strip(), run.stderr, run.returncode) == (ascii("แก"), "", 0)
    assert list(tmp_path.iterdir()) == []


def test_the_rules_have_a_version():
    """It goes into the fingerprint of a run; a change of the rules raises it."""
    assert TEXT_VERSION == 1


@pytest.mark.parametrize("text", ["สวัสดีครับ", "น้ำแข็งใสๆ ก็ได้นะ 2 แก้ว", "เปล่าเลย เสร็จแล้ว", "สิทธิ์ ABC ฤดูร้อน"])
def test_well_spelt_thai_takes_the_short_way(text):
    """Most sentences are: they need no look for mistakes."""
    assert text_module._WELL_SPELT.fullmatch(text)
    assert normalize_transcript(text) == text


@given(thai_like)
@settings(max_examples=1000)
def test_the_short_way_leads_to_the_same_place(raw):
    """What it lets by, pythainlp would leave as it is, too."""
    assert normalize_transcript(raw) == the_long_way(text_module._tidy(raw))


def the_long_way(tidied: str) -> str:
    """pythainlp's rules until nothing changes."""
    after = text_module._tidy(text_module._mend_thai()(tidied))
    return tidied if after == tidied else the_long_way(after)


SYLLABLES = ["ก", "เก", "แก", "กิ", "กี่", "ก็", "กำ", "ก้ำ", "กะ", "กาะ", "ไก่", " ", "ๆ", "ฤ", "1", "กํา", "กํ้า", "ก้ํา", "กํ"]


@given(st.lists(st.sampled_from(SYLLABLES)).map("".join))
def test_the_short_way_is_right_where_it_is_taken(raw):
    """Sound syllables in any order, and those whose sara am is typed as two signs."""
    assert normalize_transcript(raw) == the_long_way(text_module._tidy(raw))


@pytest.mark.parametrize("raw", ["น\u0e49\u0e4d\u0e32", "น\u0e4d\u0e49\u0e32"])
def test_a_split_sara_am_needs_no_long_way(raw, monkeypatch):
    """Whatever stands first of its sign and the tone mark."""
    monkeypatch.setattr(text_module, "_mend_thai", lambda: pytest.fail("it was mended the long way"))
    assert normalize_transcript(raw) == "น้ำ"


@pytest.mark.parametrize("text", ["สวัสดีครับ", "น้ำแข็งใสๆ ก็ได้นะ 2 แก้ว", "สิทธิ์ ABC (ฤดูร้อน) ฿5 ฯลฯ", "", "OK!"])
def test_what_is_normal_by_its_looks_is_not_looked_at_twice(text, monkeypatch):
    """Most transcripts need no change."""
    monkeypatch.setattr(text_module, "_tidy", lambda text: pytest.fail("it was tidied"))
    assert normalize_transcript(text) == text


@pytest.mark.parametrize(
    "text", [" ก", "ก ", "ก  ข", "ก\u00a0ข", "ก\u200bข", "ก\nข", "ก่\u0e38", "e\u0301", "\u0e01\u0e4d\u0e32"]
)
def test_what_is_not_normal_does_not_look_so(text):
    assert not text_module._NORMAL.fullmatch(text)
