"""No clip twice: whether a clip that was just read is one that the dataset has already.

    exact   its standardized samples are those of another clip, of whatever source and split
    near    it is the same recording after another codec, sample rate, level or trim: the same words, about as long, and
            sounding the same (`utils/audio/fingerprint.py`). All three, so that another speaker of a sentence stays.

A clip is judged when its turn comes in the order of reading, by the clips that are read before it and kept, and by
nothing else. So whatever dies, however many threads convert, on whatever machine: the later one is the reject, and
names the earlier one. As test and validation are read first, train never repeats what they have; and a clip of theirs
that is published in train already is not published again.

Within one split of one source only the very same audio is a duplicate: who records a sentence twice means it.
"""

import unicodedata
from typing import Any, Final, cast

import xxhash

from utils.audio.fingerprint import SAME_RECORDING, Fingerprint, FingerprintedSample
from utils.audio.standardize import audio_fingerprint
from utils.choices import Dedup
from utils.known.clips import ClipIndex, Entry, Known, Reached
from utils.known.removals import RemovedList
from utils.rows.progress import SplitOfSource
from utils.rows.schema import DUPLICATE_OF_TRAIN, Reject, RejectReason, Row

MAX_TRIMMED_S: Final = 1.1
"""What two versions of a recording differ in length at most: half a second cut at each end, and what codecs add."""

_SAME_AUDIO = "the same audio as "
_SAME_RECORDING = "the same recording as "


class Judge:
    """Says of one clip after the other whether it is new, and remembers those that are."""

    def __init__(self, index: ClipIndex, mode: Dedup) -> None:
        self._index = index
        self._is_near = mode is Dedup.NEAR

    def judged(self, place: SplitOfSource, ordinal: int, row: Row) -> Row | Reject:
        """The row, entered in the index; or its reject where it repeats a clip that is there."""
        speech: dict[str, Any] = dict(row)
        if found := self.repeated(place, speech):
            if found == _SAME_AUDIO + row["source_id"]:
                return row  # this very clip, read again: its segment is gone, its entry is not
            return Reject(row["source_id"], RejectReason.DUPLICATE, found)
        stored = speech["fingerprint"] = _fingerprint_of(speech).stored if self._is_near else b""
        self._index.add(place, ordinal, [entry_of(speech, stored)])
        return cast(FingerprintedSample, speech)  # with what is stored alone: the rest is not needed any more

    def repeated(self, place: SplitOfSource, row: dict[str, Any]) -> str:
        """What a row of speech repeats, in words; "" where it is new."""
        if same := self._index.same_audio(bytes.fromhex(row["audio_hash"])):
            return _SAME_AUDIO + same.source_id
        near = self._nearest(place, row) if self._is_near else None
        return _SAME_RECORDING + near.source_id if near else ""

    def note_covered(self, place: SplitOfSource, reached: Reached) -> None:
        """Make durable what was entered; call before the clips themselves become durable."""
        self._index.note_covered(place, reached)

    def close(self) -> None:
        self._index.close()

    def _nearest(self, place: SplitOfSource, row: dict[str, Any]) -> Known | None:
        """The clip of another place with the same words and about this length that sounds most like this one."""
        transcript = transcript_key(row["transcript"])
        if transcript is None:
            return None
        from_ms, to_ms = (round(1000 * (row["length"] + by)) for by in (-MAX_TRIMMED_S, MAX_TRIMMED_S))
        others = [known for known in self._index.same_words(transcript, from_ms, to_ms) if known.place != place]
        if not others:
            return None
        ours = _fingerprint_of(row)
        alike = [(ours.likeness(known.fingerprint), known) for known in others]
        likeness, found = min(alike, key=lambda one: (-one[0], one[1].source_id))
        return found if likeness >= SAME_RECORDING else None


def is_removed_recording(removed: RemovedList, row: Row) -> bool:
    """Whether a clip is, under whatever name, one that was taken out for good: the same audio or the same recording."""
    if not removed.audio and not removed.recordings:
        return False
    speech: dict[str, Any] = dict(row)
    if removed.means_audio(speech["audio_hash"]):
        return True
    others = [
        fingerprint
        for length_ms, fingerprint in removed.recordings_of(transcript_key(speech["transcript"]))
        if abs(length_ms - 1000 * speech["length"]) <= 1000 * MAX_TRIMMED_S
    ]
    if not others:
        return False
    ours = _fingerprint_of(speech)
    return any(ours.likeness(other) >= SAME_RECORDING for other in others)


def recording_of(row: Row) -> Entry:
    """What a clip is found by in whatever form."""
    speech: dict[str, Any] = dict(row)
    return entry_of(speech, _fingerprint_of(speech).stored)


def entry_of(row: dict[str, Any], fingerprint: bytes) -> Entry:
    """What the index keeps of a row that is staged or published."""
    return Entry(
        row["source_id"],
        bytes.fromhex(row["audio_hash"]),
        round(1000 * row["length"]),
        transcript_key(row["transcript"]) if fingerprint else None,
        fingerprint,
    )


def transcript_key(transcript: str) -> int | None:
    """64 bits of a transcript's letters, vowels, tones and digits, whatever stands between them; None without any."""
    kept = words_of(transcript)
    return int.from_bytes(xxhash.xxh3_64_digest(kept.encode()), "big", signed=True) if kept else None


def words_of(transcript: str) -> str:
    """A transcript's letters, vowels, tones and digits, without case: what is compared of it."""
    return "".join(one for one in transcript.casefold() if unicodedata.category(one)[0] in "LMN")


def counted_as(reject: Reject, split: str) -> str:
    """What the summary counts a reject as: its reason; one of an evaluation split that train has, apart."""
    if reject.reason != RejectReason.DUPLICATE or split == "train":
        return reject.reason
    return DUPLICATE_OF_TRAIN if repeated_clip(reject.detail).split("/")[1:2] == ["train"] else reject.reason


def repeated_clip(detail: str) -> str:
    """The source id of the clip that a duplicate's reject names."""
    return detail.removeprefix(_SAME_AUDIO).removeprefix(_SAME_RECORDING)


def _fingerprint_of(row: dict[str, Any]) -> Fingerprint:
    """Made when the clip was converted; of a processor that converts by itself, made here."""
    given = row.get("fingerprint")
    return given if isinstance(given, Fingerprint) else audio_fingerprint(row["audio"]["bytes"])
