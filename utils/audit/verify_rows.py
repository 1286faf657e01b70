"""Reading a dataset for `--verify`: every row once, only the columns needed, a bounded number of rows at a time.

What is read goes to checks (`utils/audit/row_checks.py`), which name those columns; of each file a few figures are kept
(`utils/audit/files_read.py`).
"""

from collections.abc import Callable, Sequence

import pyarrow as pa

from utils.audit.files_read import FileFacts, FilesRead, split_of
from utils.audit.findings import Check, heed
from utils.audit.row_checks import RowCheck
from utils.dataset.layout import rows_in
from utils.dataset.target import Snapshot, TargetReader
from utils.formats.damage import is_damage
from utils.rows.schema import SPEECH


class RowReader:
    """Reads file after file and gives their rows to checks. Damage is noted; what can't be asked (the network) raises.

    `is_ours`: folders say what kind of rows a file has; in datasets of others all are taken for speech.
    """

    def __init__(
        self, target: TargetReader, snapshot: Snapshot, is_ours: bool, stop_requested: Callable[[], bool]
    ) -> None:
        self.readable = Check("readable", "every Parquet file opens and its rows can be read")
        self.read = FilesRead(target, snapshot)
        self._target, self._snapshot, self._is_ours = target, snapshot, is_ours
        self._stop_requested = stop_requested

    def read_file(self, path: str, checks: Sequence[RowCheck]) -> None:
        """Read a Parquet file: each of its batches goes to all checks that are for its kind of rows, one by one."""
        rows = rows_in(path) if self._is_ours else SPEECH
        file = FileFacts(path, split_of(path), rows, number=len(self.read.files))
        self.read.files.append(file)
        self.readable.checked += 1
        try:
            self._feed([check for check in checks if check.is_for(rows)], file)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            if not is_damage(error):
                raise
            self.readable.offend(f"{path}: {_first_line(error)}")

    def require_columns(self, files: Sequence[FileFacts]) -> None:
        """Every readable data file has the columns of its kind of rows."""
        for file in files:
            if file.is_readable and (missing := sorted(set(file.row_schema.columns) - file.columns)):
                self.readable.offend(f"{file.path} has no column {', '.join(missing)}")

    def _feed(self, checks: Sequence[RowCheck], file: FileFacts) -> None:
        names = self._target.column_names(file.path, self._snapshot)
        file.columns = frozenset(names)
        wanted = dict.fromkeys(name for check in checks for name in check.columns)
        for batch in self._target.batches(file.path, [name for name in wanted if name in names], self._snapshot):
            heed(self._stop_requested)
            first = file.rows
            file.rows += batch.num_rows
            for check in checks:
                check.take(file, batch, first)
        file.is_readable = True


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
