"""What a source is, where configuration is enough to say it: which files are its tables, which columns hold what.

Pure values, cheap to import: a registered source has one in its class, a file of `--sources` makes the same ones.
Of a column several likely names may be given, where a layout is known at second hand only: the first that is there is
taken. What is not found is an error that says what was looked for and what there is.
"""

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Literal, TypeAlias

from utils.errors import SourceError
from utils.rows.printable import shown

AUDIO: Final = ("audio", "path", "file_name", "filename", "file", "wav", "audio_path", "audio_filepath", "key")
TRANSCRIPT: Final = ("sentence", "transcript", "transcription", "text", "value")
SPEAKER: Final = ("speaker_id", "speaker", "client_id", "spk_id", "spk")

SplitNames: TypeAlias = Mapping[str, tuple[str, ...]]
"""Our name of a split -> patterns of file names, or values of the split column."""

_WORDS: Final = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SPLIT_NAMES: Final = tuple(_WORDS)
_SPLIT_OF_WORD: Final = {word: split for split, words in _WORDS.items() for word in words}
_RANK: Final = ("test", "validation", "train")
"""Where one name has the words of two splits: a test clip must not land in train."""

_DELIMITERS: Final = {"\t": "tabs", ";": "semicolons", ",": "commas"}

Form: TypeAlias = Literal["", "csv", "tsv", "jsonl", "json", "kaldi", "lines", "texts", "first_line"]


@dataclass(frozen=True)
class Columns:
    """The likely names of each column; `a.b` is the field b of the object a."""

    audio: tuple[str, ...] = AUDIO
    """Of Parquet the encoded audio, of a table the name of the clip's file."""
    transcript: tuple[str, ...] = TRANSCRIPT
    """Empty: the source has no transcripts."""
    speaker: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    """The source's own name of a clip; where there is none, its file's name."""
    split: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    required: tuple[str, ...] = ("audio", "transcript")
    """Those of the above that must be there."""

    def found_in(self, names: Collection[str], place: str) -> "FoundColumns":
        """The columns as `place` has them. SourceError where it lacks one that is required."""
        singles = ("audio", "transcript", "speaker", "id", "split")
        found = {what: _first_of(getattr(self, what), names) for what in singles}
        metadata = tuple(name for name in self.metadata if _is_in(name, names))
        lacking = [(getattr(self, what), what) for what in singles if what in self.required and found[what] is None]
        needed = self.metadata if "metadata" in self.required else ()
        lacking += [((name,), "metadata") for name in needed if not _is_in(name, names)]
        for wanted, what in lacking:
            if wanted:
                raise lacks_column(place, wanted, names, what=what)
        return FoundColumns(**found, metadata=metadata)


@dataclass(frozen=True)
class FoundColumns:
    """The columns that one file has; None: not there."""

    audio: str | None
    transcript: str | None
    speaker: str | None
    id: str | None
    split: str | None
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParquetSpec:
    """Parquet files with an audio column."""

    columns: Columns = field(default_factory=Columns)
    splits: SplitNames = field(default_factory=dict)
    """Split -> patterns of its files. Empty: by the words (`train`, `dev`, ...) in the files' paths."""
    within: str = "*"
    """Pattern of the files to look at."""
    paths_are_unique: bool = False
    """Whether the paths of its audio are known to name its clips, no two the same: then they are the source ids."""


@dataclass(frozen=True)
class TableSpec:
    """Clips with tables: loose files, or in zip, tar and tar.gz archives, or some of each."""

    columns: Columns = field(default_factory=Columns)
    splits: SplitNames = field(default_factory=dict)
    """Split -> patterns of its tables, or with a split column its values. Empty: by the words in the paths."""
    tables: tuple[str, ...] = ()
    """Patterns of the tables; empty: those of `splits`, else what the form has."""
    form: Form = ""
    """What the tables are; "": as their names end."""
    forms: tuple[tuple[str, Form], ...] = ()
    """Patterns of tables whose form their names do not tell, with that form; the first that matches counts."""
    header: tuple[str, ...] = ()
    """The columns of csv and tsv tables that do not name them in a first line."""
    quoted: bool = False
    """Whether fields of tsv tables may stand in quotes; in csv they may, always."""
    key_has_folder: bool = False
    """Name clips with their table's folder, where those of several tables may have the same names."""
    remove: str = ""
    """Characters that are taken out of transcripts (marks between words)."""


SourceSpec: TypeAlias = ParquetSpec | TableSpec


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path, or its end from some folder on, matches one of the patterns. `*` is any characters; case is not
    looked at."""
    name = path.casefold()
    return any(
        fnmatch.fnmatchcase(name, pattern.casefold()) or fnmatch.fnmatchcase(name, f"*/{pattern.casefold()}")
        for pattern in patterns
    )


def split_of_path(path: str) -> str | None:
    """The split that a path names by a word in it, nearest to its end; None where there is none."""
    for part in reversed(PurePosixPath(path).parts):
        splits = {_SPLIT_OF_WORD[word] for word in re.split(r"[^a-z]+", part.lower()) if word in _SPLIT_OF_WORD}
        if splits:
            return next(split for split in _RANK if split in splits)
    return None


def split_by_patterns(path: str, splits: SplitNames, what: str = "file") -> str | None:
    """The split whose patterns a file matches; None where it matches none. SourceError where two have it."""
    found = [split for split, patterns in splits.items() if matches(path, patterns)]
    if len(found) > 1:
        raise SourceError(
            f"{shown(path)} is a {what} of {' and of '.join(found)}, by the patterns of `splits` in the source's "
            f"definition. Make them such that each {what} is of one split. Nothing was read."
        )
    return found[0] if found else None


def split_of_value(value: str, splits: SplitNames) -> str | None:
    """The split that a value of the split column stands for; None where it stands for none."""
    if not splits:
        return _SPLIT_OF_WORD.get(value.strip().lower())
    return next((split for split, values in splits.items() if value.strip() in values), None)


def lacks_column(
    place: str, wanted: Iterable[str], names: Iterable[str], problem: str = "no", what: str = ""
) -> SourceError:
    """The error of a table or a file without a column that is needed, for `what`."""
    names = list(names)[:50]
    return SourceError(
        f"{shown(place)} has {problem} column {' or '.join(map(repr, wanted))}; its columns are "
        f"{shown(', '.join(names))}. Nothing was read from it. {_how_to_mend(names, what)}"
    )


def _how_to_mend(names: list[str], what: str) -> str:
    marks = [word for mark, word in _DELIMITERS.items() if len(names) == 1 and mark in names[0]]
    if marks:
        return (
            f"Its fields seem to be divided by {marks[0]}: a .csv has commas and a .tsv tabs, unless a file of "
            "--sources says `form: csv` or `form: tsv`."
        )
    named = f"`columns: {{{what}: NAME}}`" if what in ("audio", "transcript") else "`columns`"
    return f"If one of these is it, say so in a file of --sources, with {named}."


def _first_of(wanted: Iterable[str], names: Collection[str]) -> str | None:
    return next((name for name in wanted if _is_in(name, names)), None)


def _is_in(name: str, names: Collection[str]) -> bool:
    return name in names or ("." in name and name.split(".")[0] in names)
