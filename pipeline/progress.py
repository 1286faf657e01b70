"""The progress bar of a split: clips, audio hours, rejects, MB published. None where the output is no terminal."""

import sys
from types import TracebackType

from tqdm import tqdm

from utils.state import Step


class SplitBar:
    """A bar for one split; use as a context manager."""

    def __init__(self, name: str, done: int, total: int | None, shown: bool) -> None:
        self._seconds = 0.0
        self._bar = tqdm(
            desc=name,
            initial=done,
            total=total,
            unit=" clips",
            unit_scale=False,
            dynamic_ncols=True,
            leave=False,
            disable=not (shown and sys.stderr.isatty()),
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
        if isinstance(step.outcome, dict):
            self._seconds += step.outcome["length"]
        self._bar.set_postfix_str(
            f"{self._seconds / 3600:.2f} h audio, {step.progress.rejected} rejects, "
            f"{bytes_published / 1e6:.0f} MB published",
            refresh=False,
        )
        self._bar.update()
