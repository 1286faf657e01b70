"""`--verify`: carry it out, and say in a table what was found. Messages of the rows are others' text: one line each."""

import json
import logging
import os
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pipeline.interrupts import StopRequest
from pipeline.options import Options
from utils.audit.findings import NOT_CHECKED, NOT_SOUND, Check, Totals, Verdict
from utils.audit.verify import verify
from utils.dataset.card_text import duration_text
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.target import Target
from utils.errors import NotSound, TargetMoved, UsageError
from utils.rows.printable import one_line

log = logging.getLogger(__name__)

_TOLD_EVERY_S = 10.0


def run_verify(options: Options, target: Target, stop: StopRequest) -> tuple[str, int]:
    """Check the target; returns what to tell, and the exit code."""
    refuse_where_nothing_is(target)
    with _undisturbed(target), tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        verdict = verify(
            target, Path(scratch), deep=options.deep, repo_id=options.hf_repo, on_file=_Teller(), stop_requested=stop
        )
    if isinstance(target, LocalTarget) and target.head() != verdict.revision:
        raise TargetMoved(
            f"{target.name} was written to while it was being verified, so what was found says nothing. Wait until the "
            "other run has ended, then repeat this command."
        )
    if not verdict.totals.files and verdict.checks[0].result == NOT_CHECKED:
        raise UsageError(
            f"{target.name} holds no dataset: neither a state nor a Parquet file is in it. Nothing was verified. Name "
            "another one with --hf-repo or --output."
        )
    if options.as_json:
        told = json.dumps({"target": options.target_name, **verdict.as_json()}, ensure_ascii=False, indent=2)
    else:
        told = report(verdict, options.target_name)
    return told, 0 if verdict.is_sound else NotSound.exit_code


def refuse_where_nothing_is(target: Target) -> None:
    """UsageError where the target does not exist."""
    if isinstance(target, HubTarget):
        nothing = target.is_public() is None
    else:
        nothing = isinstance(target, LocalTarget) and not target.folder.is_dir()
        if nothing:
            target.snapshot()  # tells of a repair that died while the folder had no name
    if nothing:
        raise UsageError(f"There is no dataset {target.name}. Name another one with --hf-repo or --output.")


def report(verdict: Verdict, where: str) -> str:
    """The table, the first offenders of each check, totals, and the verdict."""
    totals = verdict.totals
    lines = [f"Dataset: {one_line(where)}", "", f"{'check':<20}  {'result':<11} {'looked at':>12}  what", "-" * 100]
    for check in verdict.checks:
        lines += _check_lines(check)
    lines += [
        "-" * 100,
        f"Read {totals.rows:,} rows{_lasting(totals)} and {totals.rejects:,} rejects in "
        f"{totals.files:,} files, {totals.size_bytes / 1e6:,.1f} MB.",
        "",
        _conclusion(verdict),
    ]
    return "\n".join(lines)


def _lasting(totals: Totals) -> str:
    """How long the rows last; nothing of rows without audio."""
    return f" ({duration_text(totals.duration_s)})" if totals.duration_s else ""


def _check_lines(check: Check) -> list[str]:
    looked_at = f"{check.checked:,}" if check.result != NOT_CHECKED else "-"
    lines = [f"{check.name:<20}  {check.result:<11} {looked_at:>12}  {check.about}"]
    if check.why_not:
        lines.append(f"    not checked: {check.why_not}")
    lines += [f"    {one_line(offender)}" for offender in check.offenders]
    if 0 < len(check.offenders) < check.found:
        lines.append(f"    ({check.found:,} in all)")
    return lines + [f"    {told}" for told in check.remedy]


def _conclusion(verdict: Verdict) -> str:
    broken = [check.name for check in verdict.checks if check.result == NOT_SOUND]
    if broken:
        return f"NOT SOUND: {', '.join(broken)}. Nothing was changed."
    unchecked = [check.name for check in verdict.checks if check.result == NOT_CHECKED]
    return f"Sound, as far as it was checked (not: {', '.join(unchecked)})." if unchecked else "Sound."


def _undisturbed(target: Target) -> AbstractContextManager[object]:
    """A repo is read at one revision. A folder has none: no run of ours may write to it while it is read."""
    if isinstance(target, LocalTarget) and os.access(target.lock_path.parent, os.W_OK):
        return target.lock()
    return nullcontext()


class _Teller:
    """A line in the log now and then, so that nobody takes a long check for a dead one."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, path: str, number: int, total: int) -> None:
        if time.monotonic() - self._last >= _TOLD_EVERY_S:
            self._last = time.monotonic()
            log.info("verifying %s, file %d of %d", one_line(path), number + 1, total)
