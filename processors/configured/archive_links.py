"""Links in archives: a link that names a member is that member, under its own name.

Where a link leads is said in its header, before or behind what it names; so it is looked up once the whole source is
listed (`ClipPlaces`). What leads out of its archive, to nothing or in a circle is a clip without audio, and says why.
"""

import posixpath
from dataclasses import replace
from typing import Final

from processors.configured.clip_finder import CLIPS
from processors.configured.contents import ClipPlace
from utils.rows.printable import shown
from utils.sources.table_index import TableIndex

OTHERS: Final = "others"
"""The index's table of an archive's other members, and of links to folders: path -> place."""
MAX_LINKS: Final = 40
"""One behind the other, as Linux has it."""


class ClipPlaces:
    """Where the clips of an index are, links followed."""

    def __init__(self, index: TableIndex) -> None:
        self._index = index

    def of(self, path: str) -> tuple[ClipPlace, str] | None:
        """(place, path of the file itself) of the first clip of that path; None where there is none."""
        found = self._index.get(CLIPS, path)
        return self.followed(ClipPlace.from_json(found.value), path) if found else None

    def followed(self, place: ClipPlace, path: str) -> tuple[ClipPlace, str]:
        """What a place leads to, with its path; itself, with the reason, where it leads nowhere."""
        at, target = place, path
        for _ in range(MAX_LINKS):
            if not at.leads_to:
                return (at, target) if not at.why_not else (replace(place, why_not=at.why_not), path)
            named = at.leads_to
            found = self._named(named)
            if found is None:
                missing = named.removeprefix(f"{place.file}/")
                return replace(place, why_not=f"a link to {shown(missing, 100)}, which is not in the archive"), path
            at, target = found
        return replace(place, why_not="a link that leads in a circle"), path

    def _named(self, path: str) -> tuple[ClipPlace, str] | None:
        """The member of that path, or the link that is the first part of it."""
        if clip := self._index.get(CLIPS, path):
            return ClipPlace.from_json(clip.value), path
        if other := self._index.get(OTHERS, path):
            place = ClipPlace.from_json(other.value)
            if place.kind == "tar.gz" and place.is_plain:  # there only clips are counted, so nothing leads to it
                place = replace(place, why_not=f"a link to {shown(path, 100)}, which is not named like a clip")
            return place, path
        folder, rest = posixpath.split(path)
        while folder:
            link = self._index.get(OTHERS, folder)
            if link and (to := ClipPlace.from_json(link.value)).leads_to:
                return replace(to, leads_to=f"{to.leads_to}/{rest}"), path
            folder, name = posixpath.split(folder)
            rest = f"{name}/{rest}"
        return None
