"""What somebody looks for: a clip's name, a speaker's, words, or a recording; and whether a row or a reject is meant.

A name is an ID, a source id or the end of one behind a `/`, a speaker's published id, or the source's own name of a
speaker, which is hashed for each source as a row's speaker was. Words are those of a transcript or a part of it,
compared as duplicates are (`utils/known/judge.py`): case, marks and spaces do not count, nor how Unicode spells them.

A recording is compared by sound alone, whatever is said in it: 1 is the very same samples, else it is the likeness of
`utils/audio/fingerprint.py`, which finds it in another codec, rate or level, and cut by up to half a second. From
`ALIKE` on a clip is told. Of 3,120 pairs of different made-up recordings of one to six seconds none came to more than
0.66, while another form of the same one was never under 0.94. espeak's voices, which say a sentence the very same way
each time, come to 0.76 when one says it again, and a poor encoding (Opus at 7 kbit/s) may be as low (docs/dedup.md):
so what lies between `ALIKE` and `SAME_RECORDING` has to be listened to. A part of a longer recording is not found.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from utils.audio.fingerprint import Fingerprint
from utils.audio.standardize import AudioRejected, audio_fingerprint, standardize_audio
from utils.choices import AudioOptions
from utils.dataset.state import State
from utils.known.judge import repeated_clip, words_of
from utils.known.removals import RemovedList
from utils.rows.ids import number_of
from utils.rows.schema import ROW_SCHEMAS, SPLITS, Reject, RejectReason, speaker_id
from utils.text.normalize import normalize_transcript

ALIKE: Final = 0.70
"""Likeness from which on a clip is told."""

TEXTS: Final = ("transcript", "prompt", "response", "query")

BY_WORDS: Final = "words"
BY_SPEAKER: Final = "speaker"
BY_REPEATED: Final = "the clip that it repeats"
BY_LIST: Final = "the list of what was taken out"
BY_SAMPLES: Final = "the same samples"
BY_SOUND: Final = "sound"

SPEAKERS: Final = {"speaker_id": BY_SPEAKER, "author_hash": "author"}
"""Columns that say whose a row is."""


@dataclass(frozen=True)
class Name:
    """A name, or words. `sources`: all that the speaker may be one of, and the clip."""

    what: str
    sources: tuple[str, ...]
    removed: RemovedList = RemovedList()
    is_words: bool = True
    """It may be words, too."""

    def found_by(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """By what a row is found; nothing where it is not meant."""
        found = self._names(row.get("ID"), row.get("source_id"))
        found += [by for column, by in SPEAKERS.items() if row.get(column) in self.speakers]
        if self._words and any(self._words in _words(row.get(column)) for column in TEXTS):
            found.append(BY_WORDS)
        return tuple(found)

    def reject_found_by(self, reject: Reject) -> tuple[str, ...]:
        """The same of a reject; one that repeats a clip names it."""
        found = self._names(None, reject.source_id)
        if reject.reason == RejectReason.DUPLICATE and self._names(None, repeated_clip(reject.detail)):
            found.append(BY_REPEATED)
        if reject.source_id in self._stand_ins:
            found.append(BY_LIST)
        return tuple(found)

    @cached_property
    def speakers(self) -> frozenset[str]:
        """Published ids of the speakers that may be meant."""
        hashed = {speaker_id(source, name) for source in self.sources for name in self._names_in(source)}
        return frozenset({self.what, *filter(None, hashed)})

    def told_of_list(self, state: State | None) -> list[str]:
        """What the list of what was taken out, and the holes among the IDs, say of it."""
        told = [f"The clip {name} is on the list of what was taken out." for name in self._listed_clips]
        if any(self.removed.means("", speaker) for speaker in self.speakers):
            told.append(f"The speaker {self.what} is on the list of what was taken out.")
        own = self.what.partition("/")[0]
        for source in sorted({self.what, own, *(one for one in self.sources if one.lower() == self.what.lower())}):
            if self.removed.has_source(source):
                told.append(f"The source {source} is on the list of what was taken out.")
        for rows in ROW_SCHEMAS.values() if state else ():
            number = number_of(self.what, rows.id_prefix)
            holes = state.holes_of(rows) if state else ()
            if number and any(first <= number <= last for first, last in holes):
                told.append(f"The ID {self.what} stands for nothing any more: its row was taken out, or was a copy.")
        return told

    def _names(self, sample_id: object, source_id: object) -> list[str]:
        found = ["ID"] if sample_id and sample_id == self.what else []
        name = _composed(source_id)
        if name and (name == self._composed or name.endswith(f"/{self._composed}")):
            found.append("source id")
        return found

    def _names_in(self, source: str) -> Iterable[str]:
        """What the source may call the speaker that is meant."""
        yield self.what
        if self.what.startswith(f"{source}/"):
            yield self.what.removeprefix(f"{source}/")

    @cached_property
    def _composed(self) -> str:
        return _composed(self.what)

    @cached_property
    def _words(self) -> str:
        return words_of(normalize_transcript(self.what)) if self.is_words else ""

    @cached_property
    def _listed_clips(self) -> tuple[str, ...]:
        """Source ids that may be meant and are on the list."""
        whole = [f"{source}/{split}/{self.what}" for source in self.sources for split in SPLITS]
        partly = [f"{source}/{self.what}" for source in self.sources]
        return tuple(name for name in (self.what, *partly, *whole) if self.removed.means(name, None))

    @cached_property
    def _stand_ins(self) -> frozenset[str]:
        """What rejects of those clips are called."""
        return frozenset(self.removed.stands_for(name) for name in self._listed_clips)


@dataclass(frozen=True)
class Sound:
    """A recording."""

    fingerprint: Fingerprint
    audio_hashes: frozenset[str]
    """Of its samples as they are, and as they would be published."""
    removed: RemovedList = RemovedList()

    @classmethod
    def of(cls, content: bytes, state: State | None, removed: RemovedList) -> "Sound":
        """From a file's bytes. AudioRejected where they are no audio, or none that could be published."""
        as_it_is = standardize_audio(content, AudioOptions(standardize=False))
        hashes = {as_it_is.audio_hash}
        for options in _published_with(state):
            try:
                hashes.add(standardize_audio(content, options).audio_hash)
            except AudioRejected:  # too short at another rate, say
                continue
        return cls(audio_fingerprint(content), frozenset(hashes), removed)

    def likeness(self, audio_hash: str, stored: bytes) -> float:
        """How much a clip with that hash and fingerprint is like it, 0 to 1."""
        return 1.0 if audio_hash in self.audio_hashes else min(self.fingerprint.likeness(stored), 0.9999)

    def told_of_list(self) -> list[str]:
        """What the list of what was taken out says of it."""
        if any(self.removed.means_audio(audio_hash) for audio_hash in self.audio_hashes):
            return ["A recording of the very same samples was taken out, and is on the list."]
        likeness = max(map(self.fingerprint.likeness, self.removed.fingerprints()), default=0.0)
        if likeness < ALIKE:
            return []
        return [f"A recording that was taken out, and is on the list, is like it: {percent(likeness)}."]


def percent(likeness: float) -> str:
    """Never rounded up to the very same samples."""
    return f"{int(100 * likeness)} %"


def _published_with(state: State | None) -> list[AudioOptions]:
    """With which options clips were converted: those that the dataset's sources were begun with, or the usual ones."""
    begun: list[AudioOptions] = []
    for source in state.sources.values() if state else ():
        given = {name: source.fingerprint.get(f"audio.{name}", usual) for name, usual in vars(AudioOptions()).items()}
        begun.append(AudioOptions(**given))
    if state and state.sample_rate_hz:
        begun.append(AudioOptions(sample_rate_hz=state.sample_rate_hz))
    return [options for at, options in enumerate(begun) if options.standardize and options not in begun[:at]]


def _composed(name: object) -> str:
    return unicodedata.normalize("NFC", str(name)) if name else ""


def _words(text: object) -> str:
    return words_of(normalize_transcript(text)) if isinstance(text, str) and text else ""
