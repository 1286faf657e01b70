"""What is said of a source: to people, in the card, and to find its files."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SourceInfo:
    """What the registry, the card and the command line say of a source."""

    title: str
    url: str
    """The page to visit: where the source is described and its terms are accepted."""
    licence: str
    """The licence's identifier on the Hub (`cc-by-sa-4.0`), or `other`."""
    licence_name: str
    hours: str
    mirror: str
    """Its folder under `--source-dir`: for a Hub repo, `owner/name`."""
    repo_id: str | None = None
    """Its dataset repo on the Hub, None where it has none."""
    access: str = "open"
    """How it is reached, in a few words."""
    key_variable: str | None = None
    """The environment variable with a key that serves where the source is on a site that asks for one."""
    terms: str | None = None
    """Set where its terms restrict publishing it to a public repo: what they say."""
    transcripts: str = "human"
    """Who made them: `human`, `machine`, or what is known of it."""

    @property
    def is_by_hand(self) -> bool:
        """Whether somebody has to fetch it: nothing here can download it."""
        return self.repo_id is None


@dataclass(frozen=True)
class Location:
    """Where a source of the user's own lies, if not on the Hub: a folder, one archive, or an fsspec URL."""

    place: str
    folder: Path = Path()
    """What a relative path starts from."""

    @property
    def is_url(self) -> bool:
        return "://" in self.place

    @property
    def path(self) -> Path:
        return self.folder / os.path.expanduser(self.place)  # noqa: PTH111 - Path's raises where there is no such user
