"""What is never collected again: the list of the sources, speakers and clips that were taken out (`utils/removal.py`).

`.ingest/removed.json` lies beside the state, which says what it hashes to. It has no names, but keyed hashes of them:
it tells whether a clip that one has is meant, and not which clips those were. The key is in it (another machine must
be able to ask, too), so who has the corpus can try all of its names.

A clip that it means is the reject `removed`, under a name made of its hash (`RemovedList.stands_for`): so the rejects
do not tell either.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from utils.errors import TargetRefused
from utils.state import State, TakenOut, checked_json, json_with_checksum

REMOVED_PATH = ".ingest/removed.json"
_VERSION = 1
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

    @classmethod
    def checked(cls, raw: bytes | None, state: State | None) -> "RemovedList":
        """The list that `state` names, from its file's content; an empty one where the state names none.

        TargetRefused where it is not that: without it, what was taken out would be collected again.
        """
        digest = state.list_of_removed if state else ""
        if state is not None and not digest:
            return cls()
        if raw is None and not digest:
            return cls()
        if raw is None or (digest and hashlib.sha256(raw).hexdigest() != digest):
            raise _damaged("it is not what its state names")
        return cls.from_json(raw)

    @classmethod
    def from_json(cls, raw: bytes) -> "RemovedList":
        """Read `to_json`'s form. TargetRefused where it is damaged."""
        try:
            content = checked_json(raw)
            if content["version"] != _VERSION:
                raise _damaged("another version of this program wrote it")
            return cls(str(content["key"]), *(_names(content[name]) for name in ("sources", "speakers", "ids")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged("its content makes no sense") from error

    def to_json(self) -> bytes:
        """The same list gives the same bytes."""
        lists = {name: sorted(getattr(self, name)) for name in ("sources", "speakers", "ids")}
        return json_with_checksum({"version": _VERSION, "key": self.key, **lists})

    def with_more(
        self, key: str, *, sources: Iterable[str] = (), speakers: Iterable[str] = (), ids: Iterable[str] = ()
    ) -> "RemovedList":
        """The list with further names. `key` is for one that has none yet."""
        keyed = replace(self, key=self.key or key)
        return replace(
            keyed,
            sources=self.sources | {keyed._hash("source", name) for name in sources},
            speakers=self.speakers | {keyed._hash("speaker", name) for name in speakers},
            ids=self.ids | {keyed._hash("id", name) for name in ids},
        )

    def signed(self, state: State) -> State:
        """The state that names this list."""
        digest = hashlib.sha256(self.to_json()).hexdigest()
        return replace(state, taken_out=replace(state.taken_out or TakenOut(""), list_sha256=digest))

    def has_source(self, name: str) -> bool:
        return bool(self.sources) and self._hash("source", name) in self.sources

    def means(self, source_id: str, speaker_id: str | None) -> bool:
        """Whether a clip is never to be collected: it is listed itself, or its speaker is."""
        if self.ids and self._hash("id", source_id) in self.ids:
            return True
        return bool(self.speakers and speaker_id) and self._hash("speaker", str(speaker_id)) in self.speakers

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


def carried_over(raw: bytes | None, before: State | None, begun: State) -> tuple[State, dict[str, bytes]]:
    """A new generation goes on with the list: (its state, the list's file, where there is one).

    TargetRefused where the list is damaged, or gone although the state before names one.
    """
    listed = RemovedList.checked(raw, before)
    if not listed.key:
        return begun, {}
    return listed.signed(begun), {REMOVED_PATH: listed.to_json()}


def _names(value: object) -> frozenset[str]:
    if not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise ValueError(f"not a list of hashes: {json.dumps(value)[:50]}")
    return frozenset(value)


def _damaged(why: str) -> TargetRefused:
    return TargetRefused(
        f"The target's {REMOVED_PATH}, the list of what was taken out for good, is damaged or gone: {why}. Nothing was "
        "changed, as what is on it would be collected again. Restore it from the target's previous revision (`python "
        "main.py --verify`, with the same --hf-repo or --output, says which one and how), then repeat this command."
    )
