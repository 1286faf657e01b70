"""Options: frozen, made once, from the command line and the environment. Defaults live here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from processors.configured.own_source import OwnSource
from utils.choices import AudioOptions, Dedup, TextOptions
from utils.disk.file_names import staging_name


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Command(Enum):
    """What a call of `main.py` is for."""

    RUN = "run"
    LIST = "list"
    VERSION = "version"
    STATUS = "status"
    VERIFY = "verify"
    FIND = "find"
    REPAIR = "repair"
    REMOVE = "remove"
    PRUNE = "prune"
    MERGE = "merge"
    CLEAR_CACHE = "clear-cache"


@dataclass(frozen=True)
class Options:
    """One call of `main.py`."""

    command: Command = Command.RUN
    fresh: bool = False
    """Begin a new dataset; else go on with the one that is there."""
    resume: bool = False
    sources: tuple[str, ...] = ()
    """Their names, in the registry's order, the user's own behind it."""
    all_sources: bool = False
    """Those of `sources` that somebody would have to fetch first are left out, and named at the end."""
    own_sources: Mapping[str, OwnSource] = field(default_factory=dict)
    """The sources of the `--sources` file."""
    checkpoint: Path | None = None
    checkpoint_interval: int = 1000
    num_workers: int = field(default_factory=cores)
    """Threads that convert clips."""
    overlap: bool = True
    """Read, convert and publish at the same time; else one after the other, in one thread."""
    streaming: bool = False
    sample_size: int | None = None
    """Samples of each source; None: all."""
    hf_repo: str | None = None
    """None: publish to `output`."""
    private: bool = False
    output: Path = Path("data/thai-voice")
    upload_batch_size: int = 5000
    max_shard_mb: int = 400
    source_dir: Path | None = None
    source_options: dict[str, dict[str, str]] = field(default_factory=dict)
    """Options of single sources: source -> name -> value."""
    paid_options: dict[str, str] = field(default_factory=dict)
    """What the paid source buys and how. Not part of what a source was begun with: a resume may change it."""
    merge: Path | None = None
    """The file that --merge writes."""
    demo: bool = False
    audio: AudioOptions = field(default_factory=AudioOptions)
    dedup: Dedup | None = None
    """Which clips are duplicates; None: as the dataset was begun with, `DEFAULT_DEDUP` for a new one."""
    text: TextOptions = field(default_factory=TextOptions)
    accept_terms: frozenset[str] = frozenset()
    max_cache_gb: float = 100.0
    max_staging_gb: float = 4.0
    """How much may wait to be published before reading waits, too. A shard's worth always may."""
    min_free_gb: float | None = None
    """What must stay free on the disks of the staging and of a target folder. None: as utils/disk/free_space.py has
    it."""
    patience_minutes: float = 10.0
    """How long an unreachable Hub is tried again."""
    timeout_s: float = 60.0
    """Of one answer of the Hub."""
    deep: bool = False
    """--verify decodes every clip, and reads sources whole where nothing less tells what they hold."""
    against_sources: bool = False
    """--verify holds the dataset against the names of its sources, too."""
    as_json: bool = False
    find: str = ""
    """What --find looks for: a name, words, or the path of a recording."""
    find_in: tuple[str, ...] = ()
    """The sources that --find looks through, as they were typed; none: all."""
    dry_run: bool = False
    """--repair, --remove and --prune only say what they would do."""
    remove: tuple[str, ...] = ()
    """Sources to take out."""
    remove_speakers: tuple[str, ...] = ()
    remove_ids: Path | None = None
    """A file that lists clips to take out."""
    with_copies: bool = False
    """--remove takes out rows, too, that nobody named and that have the same recording."""
    source_only: bool = False
    """--remove keeps a source away by its name alone: its recordings may come from others."""
    allow_missing: bool = False
    """--remove goes on where the dataset has nothing of what was named."""
    keep_old: bool = False
    """--remove keeps the old dataset where it would be in the new one's folder, too."""
    same_audio: bool = False
    """--repair removes copies of the same audio, whatever their IDs."""
    verbose: bool = False
    quiet: bool = False

    # Where a run keeps its own files, below the working folder.
    checkpoint_dir: Path = Path("checkpoints")
    data_dir: Path = Path("data")
    log_dir: Path = Path("logs")

    @property
    def cache_dir(self) -> Path:
        return self.data_dir / "cache"

    @property
    def raw_dir(self) -> Path:
        """What the paid source has bought."""
        return self.data_dir / "raw"

    @property
    def demo_dir(self) -> Path:
        return self.data_dir / "demo-sources"

    @property
    def target_name(self) -> str:
        return self.hf_repo or str(self.output)

    @property
    def staging_dir(self) -> Path:
        """The staging folder of this target."""
        place = self.hf_repo or str(self.output.resolve())
        return self.data_dir / "staging" / staging_name(place, on_hub=self.hf_repo is not None)

    @property
    def published_rate_hz(self) -> int | None:
        """Sample rate of the published audio; None where clips keep their own."""
        return self.audio.sample_rate_hz if self.audio.standardize else None
