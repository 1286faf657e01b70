"""`--repair`: say what would be done, then do it in one commit (utils/audit/repair.py has what that is)."""

import tempfile
from pathlib import Path

from pipeline.commands.verify import refuse_where_nothing_is
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from utils.audit.findings import SHOWN
from utils.audit.repair import Repair, plan_repair
from utils.dataset.hub_repo import HubTarget
from utils.dataset.target import Target
from utils.rows.ids import ranges_text
from utils.rows.printable import one_line


def run_repair(options: Options, target: Target, stop: StopRequest) -> str:
    """Repair the target, or with `dry_run` only look; returns what to tell."""
    with target.lock(), tempfile.TemporaryDirectory(prefix="repair-") as scratch:
        refuse_where_nothing_is(target)
        if isinstance(target, HubTarget) and not options.dry_run:
            target.open()
        repair = plan_repair(
            target, Path(scratch), same_audio=options.same_audio, repo_id=options.hf_repo, stop_requested=stop
        )
        told = "\n".join(_plan_lines(repair, options.target_name))
        if repair.change is None:
            return f"{told}\n\nNothing to repair: nothing was changed."
        if options.dry_run:
            return f"{told}\n\nThat is what --repair would do. Nothing was changed."
        kept = target.mend(repair.change, repair.snapshot)
    return f"{told}\n\nDone, in one commit. {kept}"


def _plan_lines(repair: Repair, where: str) -> list[str]:
    removed = repair.rows_before - repair.rows_after
    lines = [
        f"Dataset: {one_line(where)}",
        f"Rows: {repair.rows_before:,}; {removed:,} are copies and go, {repair.rows_after:,} stay.",
        f"Data files to write again: {_listed(repair.rewritten) if repair.change else 'none'}.",
    ]
    if repair.adopts:
        lines.append("It has no state: it gets one, and all columns, so that it can be added to.")
    elif repair.mends_books:
        lines.append("Its state, its ledger and its card are brought in line with what is there.")
    if repair.holes:
        lines.append(f"IDs that stand for nothing from now on: {ranges_text(repair.holes)}.")
    if repair.left_alone:
        lines.append(f"Rows that are no clips stay as they are: {_listed(repair.left_alone)}.")
    lines += [f"Another ID, as the audio differs: {one_line(told)}" for told in repair.renamed]
    if repair.changed_files:
        lines.append(
            f"Not as they were committed, but every clip is sound; taken as they are: {_listed(repair.changed_files)}."
        )
    if repair.unsettled:
        lines.append(
            f"{repair.unsettled:,} rows share a source id with another row, but not its audio: they stay as they are."
        )
    return lines


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return (", ".join(map(one_line, names[:SHOWN])) or "none") + more
