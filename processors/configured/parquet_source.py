"""A corpus in Parquet files as pure configuration: any dataset of the Hub, its columns and splits by a spec."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from processors.configured.configured_source import ConfiguredSource
from processors.configured.overlooked import refuse_overlooked_parquet
from processors.engine.listed import ListedClip
from processors.listing.parquet import files_of_split, parquet_listed
from processors.readers.parquet import RowNaming, count_rows, read_parquet
from processors.readers.spec import ParquetSpec, matches, split_by_patterns, split_of_path
from utils.errors import SourceError
from utils.rows.printable import shown
from utils.rows.schema import Position, RawClip

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r"-\d+-of-(\d+)(?:-[0-9a-f]+)?\.parquet$")


class ParquetSource(ConfiguredSource):
    """Position: `{index, file, row_group, row}`: the row group, and how many of its rows were read."""

    spec: ParquetSpec

    @property
    def newest_naming(self) -> int:  # type: ignore[override]
        """1: rows without an id of their own are called by their audio's path or, without one, by where they stand.
        2: by the path and their content."""
        return 1 if self.spec.paths_are_unique else 2

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        refuse_overlooked_parquet(self.files, self.spec)
        may_have_moved = self.facts.is_newer_revision and not self.spec.paths_are_unique
        naming = RowNaming(by_content=self.naming == 2, may_have_moved=may_have_moved)
        return read_parquet(self.files, self.names_of(split), self.spec.columns, position, naming)

    def listed(self, split: str, scratch: Path, deep: bool) -> Iterator[ListedClip]:
        names = files_of_split(self.files.names(), self.spec, split)
        return parquet_listed(self.files, names, self.spec.columns, self.naming == 2, deep)

    def expected_clips(self, split: str) -> int | None:
        if self.keeps_revisions and not self.config.access.streaming:  # would download all files before the first
            return None
        return count_rows(self.files, self.names_of(split))

    def names_of(self, split: str) -> list[str]:
        """The files of a split, in name order. SourceError where the source has none that it should have."""
        names = self.files.names()
        ours = [name for name in names if name.endswith(".parquet") and matches(name, [self.spec.within])]
        if self.spec.splits:
            patterns = self.spec.splits.get(split, ())
            found = [name for name in ours if split_by_patterns(name, self.spec.splits) == split]
        else:
            patterns = (self.spec.within if self.spec.within.endswith(".parquet") else f"{self.spec.within}.parquet",)
            found = [name for name in ours if (split_of_path(name) or "train") == split]
        if not found and (self.spec.splits or not ours):
            raise SourceError(
                f"{self.name} has no file {' or '.join(patterns)}; it has {shown(', '.join(names[:5]))}. Put the "
                "missing files there, then run again with --resume."
            )
        self._warn_of_missing(found)
        return found

    def _warn_of_missing(self, found: list[str]) -> None:
        by_series: dict[tuple[str, int], int] = {}
        for name in found:
            if match := _NUMBERED.search(name):
                series = name[: match.start()], int(match[1])
                by_series[series] = by_series.get(series, 0) + 1
        for (name, total), count in by_series.items():
            if count != total:
                log.warning("%s: %d files are there, but by their names there should be %d", name, count, total)
