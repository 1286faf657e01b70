"""`--status`: what is published, and what waits on this machine."""

from collections import Counter

from pipeline.options import Options
from pipeline.terminal import report
from utils.dataset.hub_repo import HubTarget
from utils.dataset.target import Target
from utils.upload.segments import Segment, read_segments


def run_status(options: Options, target: Target) -> str:
    """What to tell of a target, and of what is staged for it. A repo that is not there yet holds nothing."""
    nothing_there = isinstance(target, HubTarget) and target.is_public() is None
    state = None if nothing_there else target.snapshot().state
    segments = _staged_segments(options)
    staged = Counter({place: sum(segment.rows for segment in found) for place, found in segments.items()})
    read = {place: found[-1].progress for place, found in segments.items()}
    of_text = {source for (source, _), found in segments.items() if "rows" in found[-1].key.fingerprint}
    return report.status_report(state, options.target_name, staged, read, of_text)


def _staged_segments(options: Options) -> dict[tuple[str, str], list[Segment]]:
    """What is staged on this machine, by source and split, in reading order."""
    staged: dict[tuple[str, str], list[Segment]] = {}
    for folder in options.staging_dir.glob("*/*"):
        for segment in read_segments(folder, lambda path, why: None):
            staged.setdefault((segment.key.source, segment.key.split), []).append(segment)
    return staged
