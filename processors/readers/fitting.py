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
    clips: Iterator[RawClip], position: Position, misfit: Callable[[str], SourceError | None]
) -> Iterator[RawClip]:
    """The same clips. Where none of a split has audio, what `misfit` makes of the first one's name ("" for no clip at
    all) is raised, if it makes anything of it.

    So the first clips are held back until one has audio; behind the first 10,000 the end tells. A reading that goes on
    from the middle is not asked.
    """
    if number_in(position, "index"):
        yield from clips
        return
    held: list[RawClip] = []
    first = ""
    for clip in clips:
        first = first or clip.audio_name
        held.append(clip)
        if clip.audio is not None:
            yield from held
            yield from clips
            return
        if len(held) == _MOST_HELD:
            yield from held
            held.clear()
    if error := misfit(first):
        raise error
    yield from held
