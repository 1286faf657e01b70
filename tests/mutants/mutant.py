"""What a mutant is."""

from dataclasses import dataclass

PROTOCOL = 0
"""In place of a law's number: the order of writing, `--verify`, `--repair`."""

LAWS = {
    1: "commit first, then remember",
    2: "a lost answer is not a no",
    3: "the target's state wins",
    4: "a position moves only with its rows",
    5: "one writer",
    6: "same source, same order",
    7: "the books balance, every id once",
    8: "cannot tell is not empty",
    9: "nothing is overwritten",
    10: "no clip twice, none for nothing",
    11: "never green and wrong",
    12: "seen, then believed",
    13: "what is withdrawn is gone, and nothing else",
    PROTOCOL: "the protocol",
}


@dataclass(frozen=True)
class Mutant:
    """One law broken on purpose, in one place."""

    name: str
    law: int
    what: str
    """How it is broken, in one sentence."""
    file: str
    old: str
    """Occurs exactly once in the file."""
    new: str
    tests: tuple[str, ...]
    """Node ids, at least one of which must go red; a file, or a test with all its parameters, may stand here too."""
    quick: bool = False
    """Is among those that are tried whenever the tests run."""
