"""What is never collected again: the list of the sources, speakers and clips that were taken out
(`utils/audit/removal.py`).

`.ingest/removed.json` lies beside the state, which says what it hashes to. It has no names, but keyed hashes of them:
it tells whether a clip that one has is meant, and not which clips those were. The key is in it (another machine must
be able to ask, too), so who has the corpus can try all of its names.

A clip that it means is the reject `removed`, under a name made of its hash (`RemovedList.stands_for`): so the rejects
do not tell either.

Other corpora may have the same recording, under another name and of a speaker whom they do not name. So of each clip
that went the list has its audio, too: a hash of its samples, and what finds it again in another form as `--dedup near`
does (`utils/known/judge.py`): a hash of its words, its length, its fingerprint. No sound can be made of these.

A clip that a run refuses, as its speaker is on the list, was never published, and others may have it as well. So what
is heard of it joins the list: as a line of `.ingest/heard.txt`, which grows with the run's own commits, as the ledger
does. The next removal takes these lines into the list.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from utils.dataset.layout import HEARD_PATH, REMOVED_PATH
from utils.dataset.state import State, TakenOut
from utils.errors import COMMAND, TargetRefused
from utils.known.clips import Entry
from utils.rows.sealed_json import checked_json, json_with_checksum

_VERSION = 1
_WITH_AUDIO = 2
"""Of a list that knows recordings, too: an older program would lose them."""
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class RemovedList:
    """The list, as a value. Hashes are hex."""

    key: str = ""
    """Of the hashes. Not a secret; another one for each dataset."""
    sources: frozenset[str] = frozenset()
    speakers: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    """Of source ids."""
    audio: frozenset[str] = frozenset()
    """Of the hashes of clips' samples."""
    recordings: frozenset[str] = frozenset()
    """`<hash of the words>/<length in ms>/<fingerprint, hex>`."""

    @classmethod
    def checked(cls, raw: bytes | None, state: State | None) -> "RemovedList":
        """The list that `state` names, from its file's content; an empty one where the state names none.

        TargetRefused where it is not that: without it, what was taken out would be collected again.
        """
        digest = state.list_of_removed if state else ""
        if raw is None and not digest:
            return cls()
        if state is not None and not digest:
            raise list_not_named()
        if raw is None or (digest and hashlib.sha256(raw).hexdigest() != digest):
            raise _damaged("it is not what its state names")
        return cls.from_json(raw)

    @classmethod
    def read(cls, read_file: Callable[[str], bytes | None], state: State) -> "RemovedList":
        """The list that `state` names, with what runs have heard since. TargetRefused where either is damaged."""
        listed = cls.checked(read_file(REMOVED_PATH) if state.list_of_removed else None, state)
        return listed.with_heard(heard_lines(read_file(HEARD_PATH), state)) if listed.key else listed

    @classmethod
    def from_json(cls, raw: bytes) -> "RemovedList":
        """Read `to_json`'s form. TargetRefused where it is damaged."""
        try:
            content = checked_json(raw)
            if content["version"] not in (_VERSION, _WITH_AUDIO):
                raise _damaged("another version of this program wrote it")
            names = _LISTS if content["version"] == _WITH_AUDIO else _LISTS[:3]
            listed = cls(str(content["key"]), *(_names(content[name]) for name in names))
            listed.recordings_of(0)  # one that makes no sense is met here
            return listed
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged("its content makes no sense") from error

    def to_json(self) -> bytes:
        """The same list gives the same bytes."""
        knows_audio = bool(self.audio or self.recordings)
        lists = {name: sorted(getattr(self, name)) for name in (_LISTS if knows_audio else _LISTS[:3])}
        return json_with_checksum({"version": _WITH_AUDIO if knows_audio else _VERSION, "key": self.key, **lists})

    def with_more(
        self,
        key: str,
        *,
        sources: Iterable[str] = (),
        speakers: Iterable[str] = (),
        ids: Iterable[str] = (),
        recordings: Iterable[Entry] = (),
    ) -> "RemovedList":
        """The list with further names. `key` is for one that has none yet."""
        keyed, recordings = replace(self, key=self.key or key), list(recordings)
        return replace(
            keyed,
            sources=self.sources | {keyed._hash("source", name) for name in sources},
            speakers=self.speakers | {keyed._hash("speaker", name) for name in speakers},
            ids=self.ids | {keyed._hash("id", name) for name in ids},
            audio=self.audio | {keyed._hash("audio", one.audio_hash.hex()) for one in recordings if one.audio_hash},
            recordings=self.recordings
            | {
                f"{keyed._hash('words', str(one.transcript))}/{one.length_ms}/{one.fingerprint.hex()}"
                for one in recordings
                if one.fingerprint and one.transcript is not None
            },
        )

    def line_of(self, recording: Entry) -> str:
        """What is kept of a clip that was refused for its name: what its audio and its recording are listed as."""
        one = RemovedList(self.key).with_more("", recordings=[recording])
        return " ".join([*(f"audio:{name}" for name in one.audio), *(f"recording:{name}" for name in one.recordings)])

    def with_heard(self, lines: Iterable[str]) -> "RemovedList":
        """The list with the audio and the recordings of such lines."""
        heard = [name.partition(":") for line in lines for name in line.split()]
        audio, recordings = ({name for kind, _, name in heard if kind == one} for one in ("audio", "recording"))
        return replace(self, audio=self.audio | audio, recordings=self.recordings | recordings)

    def leaving_recordings_of(self, source_ids: Iterable[str]) -> "RemovedList":
        """The list that keeps these clips away by their names alone: others have their recordings, and keep them."""
        return replace(self, ids=self.ids | {self._hash("shared", name) for name in source_ids})

    def leaves_recording_of(self, source_id: str) -> bool:
        return bool(self.ids) and self._hash("shared", source_id) in self.ids

    def signed(self, state: State) -> State:
        """The state that names this list; what runs have heard is part of it."""
        digest = hashlib.sha256(self.to_json()).hexdigest()
        taken_out = replace(state.taken_out or TakenOut(""), list_sha256=digest, heard_bytes=0, heard_sha256="")
        return replace(state, taken_out=taken_out)

    def has_source(self, name: str) -> bool:
        return bool(self.sources) and self._hash("source", name) in self.sources

    def means(self, source_id: str, *speaker_ids: str | None) -> bool:
        """Whether a clip is never to be collected: it is listed itself, or its speaker is, by any of these ids."""
        if self.ids and self._hash("id", source_id) in self.ids:
            return True
        return bool(self.speakers) and any(self._hash("speaker", one) in self.speakers for one in speaker_ids if one)

    def means_audio(self, audio_hash: str) -> bool:
        """Whether a clip has the very samples of one that went."""
        return bool(self.audio) and self._hash("audio", audio_hash) in self.audio

    def recordings_of(self, words: int | None) -> list[tuple[int, bytes]]:
        """Length in ms and fingerprint of the clips that went with these words (`utils/known/judge.py`)."""
        return self._by_words.get(self._hash("words", str(words)), []) if self.recordings and words is not None else []

    def fingerprints(self) -> Iterator[bytes]:
        """Of all clips that went, whatever their words are."""
        return (bytes.fromhex(recording.rpartition("/")[2]) for recording in sorted(self.recordings))

    @cached_property
    def _by_words(self) -> Mapping[str, list[tuple[int, bytes]]]:
        by_words: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for recording in sorted(self.recordings):
            words, length_ms, fingerprint = recording.split("/")
            by_words[words].append((int(length_ms), bytes.fromhex(fingerprint)))
        return dict(by_words)

    def stands_for(self, source_id: str) -> str:
        """What a listed clip is called among the rejects: its source and split, and a hash for its own name."""
        return f"{'/'.join(source_id.split('/')[:2])}/removed-{self._hash('id', source_id)}"

    def _hash(self, kind: str, name: str) -> str:
        return hashlib.blake2b(
            name.encode(errors="surrogatepass"),
            digest_size=_DIGEST_BYTES,
            key=self.key.encode()[: hashlib.blake2b.MAX_KEY_SIZE],
            person=kind.encode(),
        ).hexdigest()


_LISTS = ("sources", "speakers", "ids", "audio", "recordings")


def heard_lines(raw: bytes | None, state: State) -> list[str]:
    """What runs have heard since the list was written, from the file's content, which may be ahead of `state`.

    TargetRefused where it is not what the state names.
    """
    taken_out = state.taken_out or TakenOut("")
    known = (raw or b"")[: taken_out.heard_bytes]
    if taken_out.heard_bytes and hashlib.sha256(known).hexdigest() != taken_out.heard_sha256:
        raise _damaged("what runs have heard since is not what its state names", HEARD_PATH)
    return known.decode().splitlines()


def with_heard_lines(state: State, lines: Iterable[str]) -> tuple[State, bytes]:
    """The state that names these lines, and the file that has them."""
    raw = "".join(f"{line}\n" for line in lines).encode()
    digest = hashlib.sha256(raw).hexdigest()
    taken_out = replace(state.taken_out or TakenOut(""), heard_bytes=len(raw), heard_sha256=digest)
    return replace(state, taken_out=taken_out), raw


def carried_over(
    read_file: Callable[[str], bytes | None], before: State | None, begun: State
) -> tuple[State, dict[str, bytes]]:
    """A new generation goes on with the list: (its state, the list's file, where there is one).

    TargetRefused where the list is damaged, or gone although the state before names one.
    """
    listed = RemovedList.checked(read_file(REMOVED_PATH), before)
    if before is not None:
        listed = listed.with_heard(heard_lines(read_file(HEARD_PATH), before))
    if not listed.key:
        return begun, {}
    return listed.signed(begun), {REMOVED_PATH: listed.to_json()}


def _names(value: object) -> frozenset[str]:
    if not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise ValueError(f"not a list of hashes: {json.dumps(value)[:50]}")
    return frozenset(value)


def list_not_named() -> TargetRefused:
    """The error of a list that lies in the target and that its state does not know."""
    return TargetRefused(
        f"The target has {REMOVED_PATH}, the list of what was taken out for good, and its state names none: an older "
        "copy of the dataset was put over it. Nothing was changed, as who was taken out would come back. Put the newer "
        "copy there; or, if all of them may come back, delete that file; then repeat this command."
    )


def _damaged(why: str, path: str = REMOVED_PATH) -> TargetRefused:
    return TargetRefused(
        f"The target's {path}, which says what was taken out for good, is damaged or gone: {why}. Nothing was changed, "
        "as what it names would be collected again. Restore it from the target's previous revision "
        f"(`{COMMAND} --verify`, with the same --hf-repo or --output, says which one and how), then repeat this "
        "command."
    )
