"""Files of a source that its reader would pass over, though they hold clips of it: told, never left out in silence."""

import logging
from collections.abc import Sequence
from typing import Final

from processors.readers.spec import ParquetSpec, matches
from processors.readers.table_names import ARCHIVE_ENDINGS, RowNames
from utils.errors import SourceError
from utils.formats.zip_members import ZipDamaged, zip_members
from utils.rows.printable import shown
from utils.sources.source_files import SourceFiles

log = logging.getLogger(__name__)

_PARQUET: Final = (".parquet", ".parq", ".pq")
_PACKED: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".br", ".z")
_PACKED_TARS: Final = tuple(f".tar{ending}" for ending in _PACKED if ending != ".gz")
_SHEETS: Final = (".xlsx", ".xls", ".ods", *_PARQUET)


def refuse_overlooked_parquet(files: SourceFiles, spec: ParquetSpec) -> None:
    """SourceError where Parquet files of the source lie under another ending or in a zip; what can't be looked into is
    told."""
    names = files.names()
    for name in names:
        for path in _members(files, name) if name.lower().endswith(".zip") else [name]:
            is_read = path == name and name.endswith(".parquet")
            if not is_read and _may_be_ours(path, spec):
                raise SourceError(
                    f"{shown(path)} seems to be a Parquet file, and only files with the ending .parquet, loose, are "
                    "read. Give it that ending, or take it out of its archive (or away, if it is none of the corpus). "
                    "Nothing was read."
                )
    _tell("are not looked into", [name for name in names if name.lower().endswith(ARCHIVE_ENDINGS[1:])])


def _may_be_ours(path: str, spec: ParquetSpec) -> bool:
    lower = path.lower()
    ending = next((ending for ending in (*_PACKED, "") if lower.endswith(ending)), "")
    stem = lower.removesuffix(ending)
    kind = next((kind for kind in _PARQUET if stem.endswith(kind)), None)
    if kind is None:
        return False
    usual = f"{stem.removesuffix(kind)}.parquet"
    patterns = [pattern for of_split in spec.splits.values() for pattern in of_split] or ["*"]
    return matches(usual, [spec.within]) and matches(usual, patterns)


def _members(files: SourceFiles, archive: str) -> Sequence[str]:
    try:
        with files.open(archive) as stream:
            return [f"{archive}/{member.name}" for member in zip_members(stream)]
    except (ZipDamaged, EOFError) as error:
        log.warning("%s can't be looked into (%s); it is not read", archive, error)
        return []


def refuse_packed_table(path: str, names: RowNames) -> None:
    """SourceError where a file of a source of tables is one of them, packed."""
    lower = path.lower()
    ending = next((ending for ending in _PACKED if lower.endswith(ending)), "")
    if ending and not lower.endswith(_PACKED_TARS) and names.is_table(path[: -len(ending)]):
        raise SourceError(
            f"{shown(path)} seems to be a table that is packed, and such are not read. Unpack it, or take it away if "
            "it is none of the corpus. Nothing was read."
        )


def tell_unread(names: Sequence[str]) -> None:
    """What a source of tables may have for tables and archives, and is not read."""
    _tell(
        "are not taken apart",
        [name for name in names if name.lower().endswith((*_PACKED_TARS, ".tbz2", ".7z", ".rar"))],
    )
    _tell("are not read as tables", [name for name in names if name.lower().endswith(_SHEETS)])


def _tell(what: str, names: Sequence[str]) -> None:
    if names:
        log.warning("%d files %s: %s", len(names), what, shown(", ".join(names[:5])))
