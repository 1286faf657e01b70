"""A larger set of clips without those that a test or validation set must not meet in train: by sentence and by speaker.

The sentences and speakers of the evaluation tables lie in the source's index on disk (`utils/sources/table_index.py`),
under keys of their own; a clip is held out if its sentence or its speaker is among them. Sentences are compared in
their normal form, without punctuation, spaces and case, and with all digits (Thai, wide) alike: one that differs in
nothing else gives a test away just as well.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import replace

from utils.rows.schema import RawClip, speaker_name
from utils.sources.table_index import IndexEntry, TableIndex
from utils.text.checks import without_punctuation
from utils.text.normalize import normalize_transcript

HELD_OUT = "held out, by digits"
"""The index's table of them. An index whose keys were made by another rule has another name for it."""


def held_out_entries(sentence: str, speaker: str) -> Iterator[IndexEntry]:
    """What the index has of one row of an evaluation table."""
    if key := _sentence_key(sentence):
        yield HELD_OUT, key, ""
    if key := _speaker_key(speaker):
        yield HELD_OUT, key, ""


def without_held_out(clips: Iterator[RawClip], index: TableIndex) -> Iterator[RawClip]:
    """The same clips, those that are held out marked as left out by the source's tables: `unselected` in the books."""
    for clip in clips:
        yield replace(clip, selected=False, audio=None) if _is_held_out(clip, index) else clip


def _is_held_out(clip: RawClip, index: TableIndex) -> bool:
    keys = [_sentence_key(clip.transcript), _speaker_key(clip.speaker)]
    return any(key and index.get(HELD_OUT, key) is not None for key in keys)


def _sentence_key(sentence: str) -> str:
    plain = without_punctuation(normalize_transcript(sentence)).replace(" ", "").casefold()
    plain = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in plain)
    return f"sentence {plain}" if plain else ""


def _speaker_key(speaker: str | None) -> str:
    name = speaker_name(speaker)
    return f"speaker {name}" if name else ""
