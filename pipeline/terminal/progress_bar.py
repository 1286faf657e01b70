"""The progress bar of a split: clips, audio hours, rejects, MB published. None where the output is no terminal."""

import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

from utils.rows.progress import Step
from utils.rows.schema import SPEECH, RowSchema


class SplitBar:
    """A bar for one split; use as a context manager."""

    def __init__(
        self, name: str, done: int, count: Callable[[], int | None], shown: bool, rows: RowSchema = SPEECH
    ) -> None:
        """`count` tells how many there are in all. Asked for only where a bar is shown: it may have to read for it."""
        is_shown = shown and sys.stderr.isatty()
        self._row_schema = rows
        self._seconds = 0.0
        self._bar = tqdm(
            desc=name,
            initial=done,
            total=count() if is_shown else None,
            unit=f" {rows.unit}",
            unit_scale=False,
            dynamic_ncols=True,
            leave=False,
            disable=not is_shown,
        )

    def __enter__(self) -> "SplitBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, step: Step, bytes_published: int) -> None:
        """Show one more step."""
        if self._bar.disable:
            return
        hours = ""
        if self._row_schema.has_audio:
            if isinstance(step.outcome, dict):
                row: Mapping[str, Any] = step.outcome
                self._seconds += row["length"]
            hours = f"{self._seconds / 3600:.2f} h audio, "
        told = f"{hours}{step.progress.rejected} rejects, {bytes_published / 1e6:.0f} MB published"
        self._bar.set_postfix_str(told, refresh=False)
        self._bar.update()
