"""A table that fits no clip is another one, or named otherwise: it is refused, and not read to its end as a split whose
clips are all missing, or all left out."""

from collections.abc import Callable, Iterator
from typing import Final

from processors.engine.positions import number_in
from utils.errors import SourceError
from utils.rows.schema import Position, RawClip

_MOST_HELD: Final = 10_000
"""Clips without audio, some hundred bytes each."""


def fitting(
    clips: Iterator[RawClip],
    position: Position,
    fits: Callable[[RawClip], bool],
    misfit: Callable[[str], SourceError | None],
) -> Iterator[RawClip]:
    """The same clips. Where none of a split `fits`, what `misfit` makes of the first one's name ("" for no clip at all)
    is raised, if it makes anything of it.

    So the first clips are held back until one fits; behind the first 10,000 the end tells. A reading that goes on from
    the middle is not asked. Where reading ends in an error, what was held is handed out before it.
    """
    if number_in(position, "index"):
        yield from clips
        return
    held: list[RawClip] = []
    first = ""
    try:
        for clip in clips:
            first = first or clip.audio_name
            held.append(clip)
            if fits(clip) or len(held) == _MOST_HELD:
                yield from held
                held.clear()
            if fits(clip):
                yield from clips
                return
    except SourceError:
        yield from held
        raise
    if error := misfit(first):
        raise error
    yield from held


def is_there(clip: RawClip) -> bool:
    """Whether a clip has a file, be it too large to be loaded."""
    return clip.audio is not None or clip.audio_name.endswith("not loaded)")
