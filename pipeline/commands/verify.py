"""`--verify`: carry it out, and say in a table what was found. Messages of the rows are others' text: one line each."""

import json
import logging
import os
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path

from pipeline.commands.against_sources import SourceChecks
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from utils.audit.findings import NOT_CHECKED, NOT_SOUND, Check, Totals, Verdict
from utils.audit.source_names import PublishedNames
from utils.audit.verify import verify
from utils.dataset.card_text import duration_text
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.target import Target
from utils.errors import NotSound, SourceError, TargetMoved, UsageError
from utils.rows.printable import one_line

log = logging.getLogger(__name__)

_TOLD_EVERY_S = 10.0


def run_verify(options: Options, target: Target, token: str | None, stop: StopRequest) -> tuple[str, int]:
    """Check the target; returns what to tell, and the exit code. `token` is for sources on the Hub."""
    refuse_where_nothing_is(target)
    out_of_reach = False
    with ExitStack() as opened:
        opened.enter_context(undisturbed(target))
        scratch = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="verify-")))
        names = opened.enter_context(closing(PublishedNames(scratch))) if options.against_sources else None
        verdict = verify(
            target,
            scratch,
            deep=options.deep,
            repo_id=options.hf_repo,
            names=names,
            on_file=Teller("verifying"),
            stop_requested=stop,
        )
        if names:
            of_sources = SourceChecks(options, names, token, stop, scratch / "sources")
            verdict = replace(verdict, checks=(*verdict.checks, *of_sources.all()))
            out_of_reach = of_sources.is_out_of_reach
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
    return told, NotSound.exit_code if not verdict.is_sound else SourceError.exit_code if out_of_reach else 0


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
    width = max(20, *(len(check.name) for check in verdict.checks))
    lines = [
        f"Dataset: {one_line(where)}",
        "",
        f"{'check':<{width}}  {'result':<11} {'looked at':>12}  what",
        "-" * 100,
    ]
    for check in verdict.checks:
        lines += _check_lines(check, width)
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


def _check_lines(check: Check, width: int) -> list[str]:
    looked_at = f"{check.checked:,}" if check.result != NOT_CHECKED else "-"
    lines = [f"{check.name:<{width}}  {check.result:<11} {looked_at:>12}  {check.about}"]
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


def undisturbed(target: Target) -> AbstractContextManager[object]:
    """A repo is read at one revision. A folder has none: no run of ours may write to it while it is read."""
    if isinstance(target, LocalTarget) and os.access(target.lock_path.parent, os.W_OK):
        return target.lock()
    return nullcontext()


class Teller:
    """A line in the log now and then, so that nobody takes a long check for a dead one."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._last = time.monotonic()

    def __call__(self, path: str, number: int, total: int) -> None:
        if time.monotonic() - self._last >= _TOLD_EVERY_S:
            self._last = time.monotonic()
            log.info("%s %s, file %d of %d", self._doing, one_line(path), number + 1, total)
