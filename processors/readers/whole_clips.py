"""Rows that mean a part of a recording are refused: with all of it each text would have minutes of other speech.

A table says so by where the part begins (NeMo's `offset`, `start` and `end`), Kaldi by `segments` or by a command that
cuts. Whoever knows that the files are cut already, and that the column tells where they were, names it as metadata.
"""

import re
import shlex
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

from utils.errors import SourceError
from utils.rows.printable import shown
from utils.sources.mirror_revision import AUDIO_SUFFIXES

_BEGINS: Final = re.compile(
    r"(segment|clip|audio|utt|utterance|t|x)?(offset|start|begin|onset|xmin)"
    r"(time|at|offset|sec|secs|second|seconds|s|ms|sample|samples|frame|frames)?"
)
_NO_LETTER: Final = re.compile(r"[\W_]+")
_TIME: Final = re.compile(r"[\d:.,]*[1-9][\d:.,]*\s*(s|sec|ms)?|\d[\d.]*e-?\d+", re.IGNORECASE)
_CUTS: Final = frozenset(("trim", "remix", "speed", "tempo", "-ss", "-to"))
"""Words of commands (sox, ffmpeg) that make another recording of the one they read."""


def refuse_part(row: Mapping[str, Any], table: str, known: Collection[str]) -> None:
    """SourceError where a row says that it begins within a recording. `known` are columns that mean something else."""
    for column, value in row.items():
        if column not in known and _says_where_it_begins(column) and _is_time(value):
            raise SourceError(
                f"{shown(table)}: its column {shown(repr(column))} says {shown(str(value))}, so its rows seem to be "
                "parts of longer recordings, and these are not read. Cut them first, a file for each row, and leave "
                "that column out. If each row has a file of its own already, name that column in a file of --sources, "
                "among `columns: {metadata: [...]}`. Nothing was read."
            )


@lru_cache(maxsize=1000)
def _says_where_it_begins(column: str) -> bool:
    return bool(_BEGINS.fullmatch(_NO_LETTER.sub("", column.casefold())))


def _is_time(value: Any) -> bool:
    """Whether it is a time, and not zero."""
    if isinstance(value, bool):
        return False
    return bool(value) if isinstance(value, int | float) else bool(_TIME.fullmatch(str(value).strip()))


def file_of_command(value: str, table: str) -> str:
    """The file in an entry of `wav.scp`: the entry itself, or of a command (`sox a.flac -t wav - |`) what it reads.

    No command is ever run. SourceError where what it reads is not what it gives.
    """
    if not value.endswith("|"):
        return value
    words = _words(value.rstrip("|"))
    files = list(dict.fromkeys(word for word in words if _is_audio(word)))
    if len(files) > 1 or _CUTS.intersection(words) or ("-c" in words and any("sph2pipe" in word for word in words)):
        raise SourceError(
            f"{shown(table)}: `{shown(value, 200)}` gives a part of a recording, or makes another one of it. Commands "
            "are never run. Write what they give into files first, and name these in wav.scp. Nothing was read."
        )
    return files[0] if files else value


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that is not closed
        return command.split()


def _is_audio(word: str) -> bool:
    return any(len(word) > len(ending) and word.lower().endswith(ending) for ending in AUDIO_SUFFIXES)
