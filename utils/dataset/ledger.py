"""The ledger: one line for each published file, with its size and sha256 as they were when it was committed.

`.ingest/files.jsonl` lies beside the state, which says how long it is and what it hashes to. It grows by a line a
file and is never rewritten, so that anybody can tell later whether a shard is still the one that was published.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pyarrow.parquet as pq

from utils.dataset.layout import LEDGER_PATH, check_path
from utils.dataset.state import State
from utils.errors import COMMAND, TargetRefused
from utils.rows.checked_types import check_types
from utils.rows.printable import shown


@dataclass(frozen=True)
class FileRecord:
    """One published file."""

    path: str
    rows: int
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: str, local: Path, sha256: str | None = None) -> "FileRecord":
        """`sha256`: of its bytes, where that is known."""
        if sha256 is None:
            with local.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path, pq.read_metadata(local).num_rows, local.stat().st_size, sha256)


@dataclass(frozen=True)
class Ledger:
    """The whole ledger as of one state."""

    raw: bytes = b""

    @classmethod
    def checked(cls, raw: bytes | None, state: State) -> "Ledger":
        """The ledger that `state` names, from the file's content, which may be ahead of it (a run died).

        TargetRefused where it is not that.
        """
        known = cls((raw or b"")[: state.ledger_bytes])
        if state.ledger_bytes and hashlib.sha256(known.raw).hexdigest() != state.ledger_sha256:
            raise TargetRefused(
                f"The target's {LEDGER_PATH} is damaged: it is not what its state names. Nothing was changed. Restore "
                f"it from the target's previous revision (`{COMMAND} --verify`, with the same --hf-repo or "
                "--output, says which one and how), then repeat this command."
            )
        return known

    @property
    def mark(self) -> str:
        """What a cache that was made from this ledger remembers of it (`extends`)."""
        return _mark(self.raw)

    def extends(self, mark: str) -> bool:
        """Whether it is the ledger with that mark, or what later commits have made of it: not so after a backup was
        put back, or a repair."""
        size = mark.partition("/")[0]
        return size.isdigit() and int(size) <= len(self.raw) and _mark(self.raw[: int(size)]) == mark

    def with_files(self, files: Mapping[str, Path], sha256: Mapping[str, str] = MappingProxyType({})) -> "Ledger":
        """The ledger once `files` (path in the target -> local file) are published, whose `sha256` may be known."""
        records = (FileRecord.of(path, local, sha256.get(path)) for path, local in files.items())
        lines = (json.dumps(asdict(record)) + "\n" for record in records)
        return Ledger(self.raw + "".join(lines).encode())

    @classmethod
    def of(cls, records: Iterable[FileRecord]) -> "Ledger":
        """A ledger of these files, in this order."""
        return cls("".join(json.dumps(asdict(record)) + "\n" for record in records).encode())

    def signed(self, state: State) -> State:
        """The state that names this ledger."""
        return replace(state, ledger_bytes=len(self.raw), ledger_sha256=hashlib.sha256(self.raw).hexdigest())

    def records(self) -> Iterator[FileRecord]:
        """One by one. TargetRefused where a line is not what we write, though the state's signature fits."""
        for line in self.raw.splitlines():
            try:
                record = FileRecord(**json.loads(line))
                check_types(record, FileRecord, "a file")
                check_path(record.path)
                if min(record.rows, record.size_bytes) < 0:
                    raise ValueError("it counts less than nothing")
            except (ValueError, TypeError, RecursionError) as error:
                raise TargetRefused(
                    f"The target's {LEDGER_PATH} holds a line that is none of ours ({shown(error)}). Nothing was "
                    "changed. Restore it from the target's previous revision, then repeat this command."
                ) from error
            yield record


def _mark(raw: bytes) -> str:
    return f"{len(raw)}/{hashlib.sha256(raw).hexdigest()}"
