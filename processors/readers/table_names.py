"""How rows of tables and the clips that they mean are called: the rules that whoever reads a source of tables keeps.

Pure. Which of the clips that are there a row means is found by `processors/configured/clip_finder.py`.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from processors.engine.clip_names import base_name_of, ending_of, short_key
from processors.readers.spec import Form, TableSpec, matches, split_by_patterns, split_of_path, split_of_value
from processors.readers.table_forms import KEY, VALUE, TableRow, form_of
from processors.readers.whole_clips import file_of_command
from utils.errors import SourceError
from utils.rows.printable import as_text, shown
from utils.sources.mirror_revision import AUDIO_SUFFIXES

ARCHIVE_ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz")
KALDI_FILES: Final = ("wav.scp", "utt2spk", "segments")
UNREADABLE: Final = "\N{REPLACEMENT CHARACTER}"
"""In a name: which bytes stood there is not known, so several names look like it."""
_TABLE_ENDINGS: Final = ("*.csv", "*.tsv", "*.jsonl", "*.json", "wav.scp")

Aside = Callable[[str], str | None]
"""What Kaldi's other files say: `{file} {folder} {utterance}` -> value."""


def name_key(path: str) -> str:
    """Under what a clip is looked for: its file name without ending, in one case and one form of its letters."""
    return _folded(without_ending(base_name_of(path)))


def folder_key(part: str) -> str:
    """Under what a folder, or an archive, is looked for."""
    return _folded(without_archive_ending(part))


def name_in_folder_key(path: str) -> str:
    """Under what a clip is looked for where its folder is known, too."""
    return f"{folder_key(base_name_of(folder_of(path)))}/{name_key(path)}"


def _folded(name: str) -> str:
    """In one case, and one of the ways to write the same letters: SARA AM has two that Unicode tells apart."""
    return unicodedata.normalize("NFC", name).replace("\u0e4d\u0e32", "\u0e33").casefold()


def normal_name(name: str) -> str:
    """A clip's name in a table as a path: with slashes alone, without `./` and `..`."""
    return "/".join(part for part in name.strip().replace("\\", "/").split("/") if part not in ("", ".", ".."))


def without_ending(name: str) -> str:
    """A name without the ending of an audio file, where it has one."""
    folder, slash, last = name.rpartition("/")
    ending = ending_of(last)
    return f"{folder}{slash}{last[: -len(ending)] if ending.lower() in AUDIO_SUFFIXES else last}"


def without_archive_ending(part: str) -> str:
    """A folder's name, of an archive without its ending: `train_01.zip` is the folder `train_01`."""
    lower = part.lower()
    ending = next((ending for ending in ARCHIVE_ENDINGS if lower.endswith(ending)), "")
    return part[: len(part) - len(ending)]


def path_of_member(archive: str, member: str) -> str:
    """A member's path, which may begin with `./` or be written with backslashes."""
    return "/".join(
        part for part in as_text(f"{archive}/{member}").replace("\\", "/").split("/") if part not in ("", ".")
    )


def folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def is_absolute(name: str) -> bool:
    """Whether a name begins at the root of a machine, most likely another one."""
    return name.startswith(("/", "\\")) or name[1:2] == ":"


def folders_of(name: str) -> list[str]:
    """The folders that a row names, as they are looked for."""
    return [folder_key(part) for part in normal_name(name).split("/")[:-1]]


@dataclass(frozen=True)
class SharedFolders:
    """How many folders in front all names of a table have in common: what may stand for a folder of another machine.

    A folder that only some rows name tells clips from each other. Where it is not there, nor is their clip.
    """

    absolute: int = 0
    relative: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> "SharedFolders":
        shared: dict[bool, list[str]] = {}
        for name in names:
            if not normal_name(name):
                continue
            kind, folders = is_absolute(name), folders_of(name)
            before = shared.get(kind)
            if before is None:
                shared[kind] = folders
            elif before and folders[: len(before)] != before:
                same = next(
                    (at for at, (a, b) in enumerate(zip(before, folders, strict=False)) if a != b), len(folders)
                )
                shared[kind] = before[: min(same, len(before), len(folders))]
        return cls(len(shared.get(True, ())), len(shared.get(False, ())))

    def for_name(self, name: str) -> int:
        return self.absolute if is_absolute(name) else self.relative


@dataclass(frozen=True)
class RowsOfAll:
    """What all rows of a source say together."""

    shared: SharedFolders
    tables: frozenset[str]
    """What its tables, and the folders that they are in, are called."""

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str]], form: Form) -> "RowsOfAll":
        """`rows` are (table, what a row of it calls its clip); each table's stand together."""
        tables: set[str] = set()

        def names() -> Iterator[str]:
            last = ""
            for table, name in rows:
                if table != last:
                    tables.update(_called(table, with_stem=form != "texts"))  # there each clip has a table
                    last = table
                yield name

        shared = SharedFolders.of(names())
        return cls(shared, frozenset(tables))

    def has_for_another(self, folder: str, table: str, split: str | None) -> bool:
        """Whether a folder that a row does not name is called like another table than its own, or another split."""
        named = split_of_path(folder)
        return (folder in self.tables and folder not in _called(table)) or bool(split and named and split != named)


def _called(table: str, with_stem: bool = True) -> set[str]:
    *folders, name = table.split("/")
    return {*map(folder_key, folders), *([folder_key(name.rpartition(".")[0] or name)] if with_stem else [])}


def value_of(row: TableRow, name: str) -> Any:
    """A value by its column; `a.b` is b of the object a, where no column has the whole name."""
    if name in row or "." not in name:
        return row.get(name)
    outer, _, inner = name.partition(".")
    value = row.get(outer)
    return value_of(value, inner) if isinstance(value, Mapping) else None


def text_of(value: Any) -> str:
    """A value of a table as text; "" for one that is none."""
    if value is None or isinstance(value, list | dict):
        return ""
    return str(value)


def first_of(row: TableRow, names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


@dataclass(frozen=True)
class RowNames:
    """The rules of one source."""

    spec: TableSpec

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """Of the files that are tables."""
        if self.spec.tables:
            return self.spec.tables
        if self.spec.splits and not self.spec.columns.split:
            return tuple(pattern for patterns in self.spec.splits.values() for pattern in patterns)
        return ("text",) if self.spec.form == "kaldi" else _TABLE_ENDINGS

    def form_of(self, path: str) -> Form:
        said = next((form for pattern, form in self.spec.forms if matches(path, [pattern])), self.spec.form)
        return form_of(path, said)

    def is_table(self, path: str) -> bool:
        return matches(path, self.patterns) and bool(self.form_of(path))

    def is_aside(self, path: str) -> bool:
        """Whether a file is one of Kaldi's other ones."""
        return self.spec.form == "kaldi" and base_name_of(path) in KALDI_FILES

    def split_of_table(self, path: str) -> str | None:
        """The split of all its rows; None where they tell it themselves."""
        if self.spec.columns.split:
            return None
        if self.spec.splits:
            return split_by_patterns(path, self.spec.splits, "table")
        return split_of_path(path)

    def only(self, row: TableRow, names: tuple[str, ...]) -> dict[str, Any]:
        """Of a row what these columns hold."""
        values = ((name, value_of(row, name)) for name in names)
        return {name: value for name, value in values if value not in (None, "")}

    def clip_name(self, row: TableRow, table: str, aside: Aside) -> str:
        """What the row calls its clip; "" where it has no name."""
        if self.spec.form != "kaldi":
            return text_of(first_of(row, self.spec.columns.audio)).strip()
        found = aside(f"wav.scp {folder_of(table)} {row[KEY]}")
        return str(row[KEY]) if found is None else file_of_command(found, f"{folder_of(table)}/wav.scp".strip("/"))

    def key(self, row: TableRow, name: str, table: str) -> str:
        """The row's key in the dataset, `name` being its clip's, in normal form."""
        ids = (KEY,) if self.spec.form == "kaldi" else self.spec.columns.id
        key = text_of(first_of(row, ids)) or without_ending(name)
        folder = base_name_of(folder_of(table)) if self.spec.key_has_folder else ""
        return short_key(f"{folder}/{key}" if folder else key)

    def transcript(self, row: TableRow, table: str) -> str:
        """SourceError where it is no text: not even part of that was spoken."""
        value = first_of(row, (VALUE,) if self.spec.form == "kaldi" else self.spec.columns.transcript)
        if isinstance(value, bool | list | dict):
            raise SourceError(
                f"{shown(table)}: {shown(str(value), 100)} stands where the transcript should, and is no text. Nothing "
                "was read. Mend it; or, if the text is in another column or a field of this one, say so in a file of "
                "--sources, with `columns: {transcript: NAME}` (or NAME.FIELD); then run again with --resume."
            )
        return text_of(value)

    def split(self, row: TableRow, given: str, path: str, table: str) -> str:
        """By the words in the path of its clip, "" where that is not there, or else in the name that it gives it."""
        if not self.spec.columns.split:
            return split_of_path(folder_of(path)) or split_of_path(_own_folders(given)) or "train"
        value = text_of(first_of(row, self.spec.columns.split))
        split = split_of_value(value, self.spec.splits)
        if split is None:
            raise SourceError(
                f"{shown(table)}: {shown(repr(value))} is no split that is known. Say in the source's definition what "
                "it stands for. Nothing was read."
            )
        return split


def _own_folders(given: str) -> str:
    """The folders in a clip's name; of a path from another machine (`/home/dev/wav/a.wav`) the last one, as those in
    front of the corpus may be called anything."""
    folder = folder_of(normal_name(given))
    return base_name_of(folder) if is_absolute(given) and folder else folder
