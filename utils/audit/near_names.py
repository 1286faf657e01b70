"""Names that somebody may have meant: of a list of millions, those that differ by a slip of the hand.

A slip is another case, quotes or brackets around a name, an ending such as `.wav`, a part that was left out in front
of it, or one character more, less or another.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

_AROUND: Final = " \t'\"`‘’“”«»[](){}<>,;"
_ENDING = re.compile(r"\.(wav|mp3|flac|m4a|ogg|opus)$")


class NearNames:
    """What was wanted and not found, held against the names that there are."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self._equal: dict[str, set[str]] = defaultdict(set)
        self._near: dict[str, set[str]] = defaultdict(set)
        for name in wanted:
            self._equal[_plain(name)].add(name)
            for form in _slips(_plain(name)):
                self._near[form].add(name)
        self.found: dict[str, str] = {}
        """Wanted -> the first name that is the same but for case and the like, or else that is near."""

    def look_at(self, names: Iterable[str]) -> None:
        for name in names:
            plain = _plain(name)
            for form in _slips(plain):
                for wanted in self._near.get(form, ()):
                    self.found.setdefault(wanted, name)
            for form in _ends(plain):
                for wanted in self._equal.get(form, ()):
                    if _plain(self.found.get(wanted, "")) != form:
                        self.found[wanted] = name


def _ends(plain: str) -> Iterator[str]:
    """A name, and what is left where somebody leaves out the source, or the source and the split."""
    yield plain
    while "/" in plain:
        plain = plain.partition("/")[2]
        yield plain


def _plain(name: str) -> str:
    """A name without what slips change most."""
    return _ENDING.sub("", unicodedata.normalize("NFC", name).casefold().strip(_AROUND))


def _slips(name: str) -> Iterator[str]:
    """A name, and what is left of it without one of its characters: two names have one in common where one character
    is another, too many, or missing."""
    yield name
    if len(name) > _SHORT:
        for at in range(len(name)):
            yield name[:at] + name[at + 1 :]


_SHORT: Final = 4
"""A name of so few characters has too many neighbours: S12 is near S1 to S129."""


def told(unknown: Iterable[str], found: Mapping[str, str]) -> Iterator[str]:
    """Each name, with the one that may be meant."""
    for name in unknown:
        yield f"{name} (did you mean {found[name]}?)" if name in found else name
