"""Where source files come from: the Hub or a local mirror; cached or streamed.

A processor sees `SourceFiles`: names, sizes, and files opened for reading. Whether a file's bytes
come from a mirror, from the Hub through a bounded cache on disk, or from the Hub as they are read
(streaming: no copy on disk), is decided here and nowhere else.

Law 6: same source, same order. The revision is pinned at the first read, kept in the state, and
given back here on every later run; a source that is no longer the same is refused.
"""

import hashlib
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeVar

from utils.errors import SourceError
from utils.sources import hub
from utils.sources.byte_meter import ByteMeter, open_metered
from utils.sources.cache import FileCache, clear_cache
from utils.sources.folder_files import files_in
from utils.sources.mirror_revision import is_mirror_revision, mirror_revision, version_of
from utils.sources.prefetch import Prefetcher
from utils.sources.remote_file import RemoteFile, SourceChanged, explained
from utils.sources.stand_ins import itself

__all__ = ["HubFiles", "MirrorFiles", "SourceAccess", "SourceChanged", "SourceFiles", "clear_cache", "open_source"]

T = TypeVar("T")


@dataclass(frozen=True)
class SourceAccess:
    """How source files are reached."""

    source_dir: Path | None = None
    """A folder of local mirrors (`--source-dir`); None: the Hub."""
    streaming: bool = False
    cache_dir: Path = Path("data/cache")
    max_cache_bytes: int = 100 * 1000**3
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    """Seconds without a byte after which a connection counts as broken."""
    patience: hub.Patience = field(default_factory=hub.Patience)
    fetch_ahead: bool = False
    """Download a file while the one before it is read."""
    unpack_archives: bool = False
    """Keep the clips of an archive that several splits are read from unpacked beside its index, until all are read."""
    stop_requested: Callable[[], bool] = hub.never
    """Asked while we wait for the network and while a file is downloaded; True ends that with Interrupted."""


class SourceFiles(Protocol):
    """The files of one source at one revision."""

    revision: str
    as_found: str
    """What an index on this machine is made from: another one where a file was replaced, by one of its size, too."""

    def names(self) -> Sequence[str]:
        """The paths of all files relative to the source's root, with `/`, sorted."""

    def size_bytes(self, name: str) -> int:
        """A file's size. SourceError where there is no such file."""

    def open(self, name: str) -> BinaryIO:
        """A file opened for reading, seekable; to be closed. SourceError where it can't be read."""

    def expect(self, *names: str) -> None:
        """Tell which files are going to be opened behind the next one: they may be fetched while that one is read."""

    def close(self) -> None:
        """Fetch nothing more. Files that are open stay so."""

    @property
    def bytes_read(self) -> int:
        """How many bytes those who opened files have read of them, from a disk or off the network."""


def open_source(
    mirror: str, repo_id: str | None, access: SourceAccess, revision: str | None, branch: str | None = None
) -> SourceFiles:
    """The files of a source, from its mirror where `access` names one, else from the Hub.

    `revision` is the one that the source was first read at, None at the first read: then the newest, of `branch` where
    the repo has it there and not in its main branch. Raises
    SourceChanged where the source is no longer at it, SourceError where it can't be reached.
    """
    if access.source_dir is not None:
        return MirrorFiles(access.source_dir / mirror, revision)
    if repo_id is None:
        raise SourceError(
            f"This source is not on the Hub. Download it yourself and give --source-dir a folder that holds {mirror}/."
        )
    return HubFiles(repo_id, access, revision, branch)


class MirrorFiles:
    """A local folder with the very layout of the source; hidden files and folders are left out."""

    def __init__(self, folder: Path, revision: str | None = None) -> None:
        if not folder.is_dir():
            raise SourceError(
                f"The mirror folder {folder} does not exist. Put the source's files there, "
                "or leave out --source-dir to read from the Hub."
            )
        self._folder = folder
        self._meter = ByteMeter()
        found = hashlib.sha256(os.fsencode(os.path.realpath(folder)))
        sizes = files_in(folder, found.update)
        listed = sorted((_as_text(name), size, name) for name, size in sizes)
        if not listed:
            raise SourceError(f"The mirror folder {folder} holds no files. Put the source's files there.")
        # A corpus may be 400,000 loose clips: two flat sequences take half of what a dict would.
        self._names = tuple(name for name, _, _ in listed)
        self._sizes = array("q", (size for _, size, _ in listed))
        self._on_disk = {name: real for name, _, real in listed if name != real}
        if two := next((one for one, other in pairwise(self._names) if one == other), None):
            raise SourceError(f"{folder} has two files that are both called {two} here. Give one another name.")
        version = version_of(self._names, self._sizes, self._opened)
        self.revision = mirror_revision(self._names, self._sizes, version, revision)
        self.as_found = f"{self.revision} {found.hexdigest()[:32]}"
        if revision is not None and revision != self.revision:
            raise SourceChanged(_mirror_changed(folder, revision))

    def names(self) -> Sequence[str]:
        return self._names

    def size_bytes(self, name: str) -> int:
        return self._sizes[self._index(name)]

    def open(self, name: str) -> BinaryIO:
        self._index(name)
        try:
            return itself(open_metered(self._path(name), self._meter), name, self.size_bytes(name))
        except OSError as error:
            raise SourceError(f"{self._path(name)} can't be read: {error.strerror}.") from error

    def expect(self, *names: str) -> None:
        """They are here."""

    def close(self) -> None:
        """Nothing is fetched."""

    @property
    def bytes_read(self) -> int:
        return self._meter.bytes_read

    def _opened(self, name: str) -> BinaryIO:
        return self._path(name).open("rb")

    def _path(self, name: str) -> Path:
        return self._folder / self._on_disk.get(name, name)

    def _index(self, name: str) -> int:
        return index_of(name, self._names, str(self._folder))


class HubFiles:
    """The files of a dataset repo on the Hub at one commit; hidden ones are left out, as in a mirror."""

    def __init__(
        self, repo_id: str, access: SourceAccess, revision: str | None = None, branch: str | None = None
    ) -> None:
        if is_mirror_revision(revision):
            raise SourceChanged(
                f"{repo_id} was first read from a mirror; without --source-dir it would be read from the Hub. "
                "Nothing was read or written, and what is published is safe. Give the same --source-dir again, "
                "or begin anew with --fresh."
            )
        self._repo_id = repo_id
        self._access = access
        self._api = hub.connect(access.token, access.timeout_s)
        self._meter = ByteMeter()
        self._cache = FileCache(access.cache_dir, access.max_cache_bytes, self._meter)
        # Asked for a pinned revision too: it says at once whether the Hub is there and still has it.
        self.revision = self._ask(
            lambda: str(self._api.dataset_info(repo_id, revision=revision or branch).sha),
            "revision",
            None if revision else branch,
        )
        self.as_found = self.revision
        self._files = self._ask(self._list, "list of files")
        self._names = tuple(sorted(self._files))
        self._prefetcher = Prefetcher(self._fetch_ahead)
        self._expected: tuple[str, ...] = ()
        self._ahead: tuple[str, ...] = ()
        """Those that are being fetched."""

    def names(self) -> Sequence[str]:
        return self._names

    def size_bytes(self, name: str) -> int:
        return self._file(name).size_bytes

    def open(self, name: str) -> BinaryIO:
        file = self._file(name)
        opened = file.open(self._meter) if self._access.streaming else self._cache.open(file)
        opened = itself(opened, f"{name} of {self._repo_id}", file.size_bytes)
        if self._expected:  # only now: a file that is waited for has the line for itself
            self._ahead, self._expected = self._expected, ()
            self._prefetcher.expect(*self._ahead)
        return opened

    def expect(self, *names: str) -> None:
        if self._access.fetch_ahead and not self._access.streaming:
            self._expected = names

    def close(self) -> None:
        self._prefetcher.close()

    def _fetch_ahead(self, name: str, is_to_end: Callable[[], bool]) -> bool:
        return self._cache.fetch_ahead(
            replace(self._file(name), stop_requested=lambda: is_to_end() or self._access.stop_requested()),
            spared=[self._file(other) for other in self._ahead],
        )

    @property
    def bytes_read(self) -> int:
        return self._meter.bytes_read

    def _file(self, name: str) -> RemoteFile:
        return self._files[self._names[index_of(name, self._names, f"{self._repo_id} on the Hub")]]

    def _ask(self, request: Callable[[], T], what: str, begins_at_branch: str | None = None) -> T:
        try:
            return hub.patiently(request, self._access.patience, self._access.stop_requested)
        except hub.NETWORK_ERRORS as error:
            if begins_at_branch and hub.is_missing_revision(error):
                raise SourceError(
                    f"{self._repo_id} has no branch {begins_at_branch!r} on the Hub. Nothing was read. Look at "
                    f"{hub.dataset_page(self._repo_id)}; or put its files into a mirror and give --source-dir."
                ) from error
            raise explained(error, self._repo_id, what) from error

    def _list(self) -> dict[str, RemoteFile]:
        tree = self._api.list_repo_tree(self._repo_id, repo_type="dataset", revision=self.revision, recursive=True)
        # Folders are listed too; only files have a size.
        return {entry.path: self._remote(entry) for entry in tree if hasattr(entry, "size") and _is_plain(entry.path)}

    def _remote(self, entry: Any) -> RemoteFile:
        return RemoteFile(
            repo_id=self._repo_id,
            revision=self.revision,
            name=entry.path,
            size_bytes=entry.size,
            sha256=entry.lfs.sha256 if entry.lfs is not None else None,
            git_id=entry.blob_id if entry.lfs is None else None,
            token=self._access.token,
            patience=self._access.patience,
            stop_requested=self._access.stop_requested,
        )


def _is_plain(name: str) -> bool:
    """Neither hidden nor (as `../x` would) outside the folder that the file is cached in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and not any(part.startswith(".") for part in path.parts)


def one_by_one(files: SourceFiles, names: Sequence[str]) -> Iterator[str]:
    """The names in their order; before each, those behind it are expected.

    Two: where the download of one ends before it is asked for, the line must not be idle.
    """
    for following, name in enumerate(names, start=1):
        files.expect(*names[following : following + 2])
        yield name


def index_of(name: str, names: Sequence[str], place: str) -> int:
    """The index of a name in sorted names; SourceError, with near names, where it is not there."""
    index = bisect_left(names, name)
    if index < len(names) and names[index] == name:
        return index
    near = get_close_matches(name, names[:10_000], n=3, cutoff=0.5) or names[:3]
    raise SourceError(f"{place} has no file {name!r}. Near it: {', '.join(near)}.")


def _as_text(name: str) -> str:
    """A file's name as text: a byte that is not UTF-8 (an old archive was extracted) as %E9."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return _NOT_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", name)
    return name


_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""As Python has such bytes in a name."""


def _mirror_changed(folder: Path, revision: str) -> str:
    if not is_mirror_revision(revision):
        return (
            f"This source was first read from the Hub, at {revision:.12}; now --source-dir names {folder}. "
            "Nothing was read or written, and what is published is safe. Leave out --source-dir and run again "
            "with --resume, or begin anew with --fresh."
        )
    return (
        f"The files in {folder} are not those that were first read (names, sizes or contents differ). Nothing was read "
        "or written, and what is published is safe. Put the old files back and run again with --resume, "
        "or begin anew with --fresh."
    )
