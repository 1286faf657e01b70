"""`--prune`, and the same at the end of each run: what earlier runs left and nobody needs any more.

How long what is kept says `utils/disk/retention.py`. Whole datasets that `--fresh`, `--repair` or `--remove` put away
are shown, never deleted.
"""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.options import Options
from utils.checkpoint import superseded_history
from utils.dataset.layout import DATA_FOLDERS
from utils.disk.retention import DAY_S, KEPT_DAYS, KEPT_LAST, RetainedEntry, RetainedFolder, delete, expired, measured
from utils.rows.printable import one_line

log = logging.getLogger(__name__)

_STAMP = r"\d{8}-\d{6}"
_AGAIN = r"(-\d+)?"  # what a name gets where it was taken
_ARCHIVE = re.compile(rf"before-fresh-{_STAMP}")
_SEGMENT = re.compile(rf"[^/]+\.(arrow|parquet){_AGAIN}")
_PART = re.compile(rf"({'|'.join(DATA_FOLDERS)})/[^/]+/[^/]+-\d{{5}}\.parquet(\.[0-9a-f-]+)?(\.tmp)?{_AGAIN}")
_HALF_WRITTEN = re.compile(r"[^/]+\.json\.[0-9a-f-]+\.tmp")
_LOG = re.compile(rf"run-{_STAMP}-\d+\.log")
_PUT_AWAY = re.compile(rf".*\.before-(fresh|repair|removal)-{_STAMP}{_AGAIN}")


def run_prune(options: Options, now_s: float | None = None) -> str:
    """Delete what is due, or with `dry_run` only look; returns what to tell."""
    now_s = time.time() if now_s is None else now_s
    entries = list(_due(options, now_s))
    size = f"{sum(entry.size_bytes for entry in entries) / 1e6:,.1f} MB"
    lines = [
        f"Kept: the last {KEPT_LAST} checkpoints of each source and one a day for {KEPT_DAYS} days; archives and "
        f"set-aside files for {KEPT_DAYS} days; logs for {KEPT_DAYS} days, the last {KEPT_LAST} in any case.",
        *_listed(entries, now_s),
    ]
    if not entries:
        lines.append("Nothing is older than that: nothing to delete.")
    elif options.dry_run:
        lines.append(f"--prune would delete these {len(entries):,}, {size}. Nothing was changed.")
    else:
        delete(entries)
        lines.append(f"Deleted these {len(entries):,}, {size}.")
    return "\n".join([*lines, *_never_deleted(options)])


def prune_quietly(options: Options, now_s: float | None = None) -> None:
    """At the end of a run: delete what is due. What can't be deleted is no failure of the run."""
    try:
        entries = list(_due(options, time.time() if now_s is None else now_s))
        freed = delete(entries)
    except OSError as error:
        log.warning("Old files could not be deleted (%s); they do no harm", error)
        return
    if entries:
        log.info("pruned %d old files and archives of earlier runs, %.1f MB", len(entries), freed / 1e6)


def _places(options: Options) -> Iterator[RetainedFolder]:
    """Where runs put what they need no more; the staging of every target, whichever is named."""
    staging = options.data_dir / "staging"
    yield RetainedFolder(options.checkpoint_dir / "archive", _ARCHIVE, "archives of checkpoints")
    yield RetainedFolder(options.checkpoint_dir, _HALF_WRITTEN, "half-written checkpoints")
    yield RetainedFolder(staging / "archive", _ARCHIVE, "archives of staged clips")
    for folder in sorted(staging.glob("*/set-aside")):
        yield RetainedFolder(folder, _SEGMENT, "staged segments that were set aside")
    for folder in _set_aside_of_targets(options):
        yield RetainedFolder(folder, _PART, "files that a dataset's state did not name")
    yield RetainedFolder(options.log_dir, _LOG, "logs", keeps_last=KEPT_LAST)


def _set_aside_of_targets(options: Options) -> list[Path]:
    output = options.output.resolve()
    beside = output.with_name(f"{output.name}.set-aside")
    return sorted({*options.data_dir.resolve().glob("*.set-aside"), beside, output / ".set-aside"})


def _due(options: Options, now_s: float) -> Iterator[RetainedEntry]:
    for path in superseded_history(options.checkpoint_dir, now_s):
        with suppress(FileNotFoundError):  # another run has just deleted it
            yield measured(path, "superseded checkpoints")
    for place in _places(options):
        yield from expired(place, now_s)


def _listed(entries: list[RetainedEntry], now_s: float) -> Iterator[str]:
    for entry in entries:
        days = f"{(now_s - entry.since_s) / DAY_S:,.0f} days"
        yield f"  {one_line(str(entry.path))}  ({entry.what}; {days}, {entry.size_bytes / 1e6:,.1f} MB)"


def _never_deleted(options: Options) -> Iterator[str]:
    """The datasets that were put away beside the target or in it (a mount point), and in the data folder."""
    output = options.output.resolve()
    beside = {*options.data_dir.resolve().glob("*"), *output.parent.glob("*"), *output.glob(".before-*")}
    put_away = sorted(path for path in beside if _PUT_AWAY.fullmatch(path.name) and path.is_dir())
    if put_away:
        yield "Whole datasets of before --fresh or --repair. They are yours; this program never deletes them:"
    for path in put_away:
        yield f"  {one_line(str(path))}  ({measured(path, '').size_bytes / 1e6:,.1f} MB)"
