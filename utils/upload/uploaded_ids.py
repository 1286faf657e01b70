"""The IDs that a script has published to a split of a dataset: `StreamingUploader` takes no sample that has one.

The target decides (law 3). Where the state's ranges account for every published row, they are the answer. Other
IDs are read from the shards themselves: up to 1,000 are held in memory, more go into an index on disk
(`utils/upload/id_index.py`), which knows what it has read of which shard. So memory does not grow with samples, and
asking costs the same however many there are.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

from utils.dataset.ledger import FileRecord
from utils.rows.ids import IdSet
from utils.upload.id_index import IdIndex
from utils.upload.publisher import Publisher

log = logging.getLogger(__name__)

HELD_IN_MEMORY = 1000
"""Ranges and other IDs; beyond it, the index."""
_READ_AT_A_TIME = 200_000
"""IDs read from shards before they are entered."""


class UploadedIds(Set[str]):
    """A set that grows by what is committed, and by nothing else (law 1)."""

    def __init__(self, publisher: Publisher, source: str, split: str, folder: Path) -> None:
        """`folder`: for the index; nothing else may be in it."""
        self.publisher = publisher
        self._source = source
        self._split = split
        self._folder = folder
        self._known = self._from_target()

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._known

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[str]:
        """Many IDs of a script's own are read from the published shards."""
        if isinstance(self._known, IdSet):
            return iter(self._known)
        return (sample_id for record in self._records() for sample_id in self._ids_of(record))

    @classmethod
    def _from_iterable(cls, ids: Iterable[str]) -> Set[str]:  # type: ignore[override]
        """What `|`, `&` and the like make."""
        return set(ids)

    @property
    def listed(self) -> IdSet | None:
        """All of them where they are few or in ranges, None where they are in the index."""
        return self._known if isinstance(self._known, IdSet) else None

    def add_published(self, ids: Sequence[str]) -> None:
        """Enter the IDs of the shards that were committed since the last time; may be repeated after an error."""
        if isinstance(self._known, IdIndex):
            if shards := self._shards()[self._known.covered :]:
                self._known.add(ids, shards)
            return
        for sample_id in ids:
            self._known.add(sample_id)
        if self._known.weight > HELD_IN_MEMORY:
            index = IdIndex(self._folder, [])
            index.add(self._known, self._shards())
            self._known = index

    def close(self) -> None:
        if isinstance(self._known, IdIndex):
            self._known.close()

    def _from_target(self) -> IdSet | IdIndex:
        published = self.publisher.state.split(self._source, self._split)
        known = IdSet(ranges=published.ids)
        if len(known) != published.published:
            if published.published > HELD_IN_MEMORY:
                return self._indexed()
            known = IdSet(sample_id for record in self._records() for sample_id in self._ids_of(record))
        IdIndex(self._folder, [])  # deletes what is left of one
        return known

    def _indexed(self) -> IdIndex:
        """The index, with what it lacks read from the shards: a few at a time, so that memory does not grow."""
        records = self._records()
        index = IdIndex(self._folder, [record.sha256 for record in records])
        if lacking := records[index.covered :]:
            log.info("%s/%s: reading the IDs of %d published shards", self._source, self._split, len(lacking))
        ids: list[str] = []
        shards: list[str] = []
        for record in lacking:
            ids += self._ids_of(record)
            shards.append(record.sha256)
            if len(ids) >= _READ_AT_A_TIME or record is lacking[-1]:
                index.add(ids, shards)
                ids, shards = [], []
        return index

    def _records(self) -> list[FileRecord]:
        return [record for _, record in self.publisher.published_records("data", self._source, self._split)]

    def _shards(self) -> list[str]:
        return [record.sha256 for record in self._records()]

    def _ids_of(self, record: FileRecord) -> list[str]:
        table = self.publisher.target.read_columns(record.path, ["ID"], self.publisher.snapshot)
        return table["ID"].to_pylist()  # type: ignore[no-any-return]
