"""Where a damaged file of the target can be had back from: its newest sound revision, and what to type."""

from collections.abc import Callable
from itertools import islice

from utils.dataset.target import Snapshot, TargetReader
from utils.errors import TargetRefused
from utils.rows.printable import one_line

LOOKED_AT = 50
"""Revisions before this one that are looked at."""


def how_to_restore(
    target: TargetReader, path: str, snapshot: Snapshot, is_sound: Callable[[bytes], object]
) -> tuple[str, ...]:
    """Lines that name the newest revision with a sound `path`. `is_sound` raises TargetRefused or ValueError, or not.

    Only told, never done: which of two states is the true one is nothing that a program should guess.
    """
    looked = 0
    try:
        for revision in islice(target.earlier(path, snapshot), LOOKED_AT):
            looked += 1
            if revision.content is not None and _holds(is_sound, revision.content):
                return (
                    f"It is sound in {revision.name} ({one_line(revision.about)}). To go back to that one:",
                    *(f"  {command}" for command in revision.restore),
                    "Then go on with --resume: what was published since is read and published again. Then --verify.",
                )
    except TargetRefused as error:
        return (f"Its earlier revisions can't be read: {error}",)
    return (
        f"No sound one is in the {looked} revisions before this one that were looked at. Restore it from a backup; or "
        "give the dataset another name, by hand, and begin anew with --fresh.",
    )


def _holds(is_sound: Callable[[bytes], object], content: bytes) -> bool:
    try:
        is_sound(content)
    except (TargetRefused, ValueError, TypeError):
        return False
    return True
