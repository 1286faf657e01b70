"""How LOTUS says what is spoken: two tables, and the names of the clips themselves.

    Supplement/PDsen.txt    sentence <TAB> text <TAB> ...
    Supplement/index.txt    set <TAB> number <TAB> sentence
    PD/{U,C}/{Clean,Office}/Wav/{speaker}_{set}/..._{number}.wav

So each clip looks its sentence up by its set and number; one that finds none is left out by the tables.
"""

import logging
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from processors.configured.clip_finder import CLIPS
from processors.configured.clip_tables import ASIDE, ClipRow, ClipTables
from processors.configured.contents import ClipPlace, FileEntry, shown_name
from processors.engine.clip_names import base_name_of, short_key
from processors.listing.packed import Listed
from processors.listing.tables import ASIDE as LISTED_ASIDE
from processors.listing.tables import CLIPS as LISTED_CLIPS
from processors.listing.tables import IN_ORDER, TableListing
from processors.readers.table_names import without_ending
from utils.errors import SourceError
from utils.formats.tsv import TextLines
from utils.rows.printable import shown
from utils.sources.table_index import IndexEntry

log = logging.getLogger(__name__)

_SENTENCES: Final = "pdsen.txt"
_INDEX: Final = "index.txt"


class LotusTables(ClipTables):
    """The rows of LOTUS, one for each clip whose sentence is known."""

    def table_entries(self, entry: FileEntry) -> Iterator[IndexEntry]:
        is_index = PurePosixPath(entry.path).name.casefold() == _INDEX
        with entry.open() as stream:
            lines = TextLines(stream, entry.path, or_tis_620=True)
            for text, _ in lines:
                fields = [field.strip() for field in text.split("\t")]
                if is_index and len(fields) >= 3:
                    yield ASIDE, f"{_INDEX} {fields[0]} {fields[1]}", fields[2]
                elif not is_index and len(fields) >= 2:
                    yield ASIDE, f"{_SENTENCES} {fields[0]}", fields[1]
            lines.report()

    def placed_rows(self) -> Iterator[IndexEntry]:
        found = 0
        for clip in self.contents.rows(CLIPS):
            self.raise_if_stopped()
            if said := self._said_in(clip.key):
                found += 1
                speaker, transcript = said
                place, file = self.places.followed(ClipPlace.from_json(clip.value), clip.key)
                row = ClipRow(
                    key=short_key(without_ending("/".join(PurePosixPath(clip.key).parts[-5:]))),
                    name=shown_name(clip.key, place),
                    transcript=transcript,
                    speaker=speaker,
                    metadata=None,
                    place=place,
                    path=clip.key,
                )
                yield from self.placed("train", row, file)
        if not found:
            first = next(self.contents.rows(CLIPS), None)
            raise SourceError(
                f"{self.name}: by its name no clip is in {_INDEX} with a sentence of {_SENTENCES}; the first clip is "
                f"{shown(first.key if first else 'missing')}. This is not the layout that the source is known by: "
                "nothing was read."
            )

    def _said_in(self, path: str) -> tuple[str | None, str] | None:
        """Who speaks in a clip, if that is said, and what; None where its name leads to no sentence."""
        name, folder = PurePosixPath(without_ending(path)).name, PurePosixPath(path).parent.name
        *words, number = name.split("_")
        for sets in (folder.split("_"), words):
            for at, word in enumerate(sets):
                sentence = self.contents.get(ASIDE, f"{_INDEX} {word} {number}")
                text = self.contents.get(ASIDE, f"{_SENTENCES} {sentence.value}") if sentence else None
                if text:
                    return sets[at - 1] if at else None, text.value
        return None


class LotusListing(TableListing):
    """The same clips, found once more."""

    def rows_in(self, file: Listed) -> Iterator[IndexEntry]:
        is_index = base_name_of(file.path).casefold() == _INDEX
        with file.open() as stream:
            for text, _ in TextLines(stream, file.path, or_tis_620=True):
                first, *others = [field.strip() for field in text.split("\t")]
                if is_index and len(others) >= 2:
                    yield LISTED_ASIDE, f"number {first} {others[0]}", others[1]
                elif not is_index and others:
                    yield LISTED_ASIDE, f"sentence {first}", ""

    def meant(self) -> Iterator[IndexEntry]:
        for clip in self.held.rows(LISTED_CLIPS):
            self.raise_if_stopped()
            *folders, name = without_ending(clip.key).split("/")
            *words, number = name.split("_")
            sets = [*(folders[-1].split("_") if folders else []), *words]
            if any(self._has_sentence(word, number) for word in sets):
                key = short_key(without_ending("/".join(clip.key.split("/")[-5:])))
                yield f"train{IN_ORDER if clip.value else ''}", clip.key, key

    def _has_sentence(self, word: str, number: str) -> bool:
        found = self.held.get(LISTED_ASIDE, f"number {word} {number}")
        return found is not None and self.held.get(LISTED_ASIDE, f"sentence {found.value}") is not None
