"""What an enumeration of a source tells: `--verify --source` holds a dataset against it (`processors/listing/`)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One clip that a source has, or says that it has."""

    key: str
    """As in `RawClip`."""
    selected: bool = True
    """False for one that the source's own tables leave out."""
    otherwise: str = ""
    """The key that it has if it is too large to be loaded, which only reading it can tell; "" where that is no other
    one."""


class NotListed(Exception):
    """Why the names of a source's clips can't be told; in words that go on behind "not checked: "."""


TAKES_DEEP = "{} has no list of its clips: to name them, all of it is read, with --deep"
"""`NotListed` without --deep; what of the source is meant goes in."""
