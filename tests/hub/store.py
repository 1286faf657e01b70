"""The Hub's memory: a folder on disk that outlives any server process.

    {root}/secret                               signs the addresses of large files
    {root}/incoming/                            half-written files; emptied at every start of a server
    {root}/repos/{owner}/{name}/settings.json   private, gated, who may read
                                objects/lfs/{sha256}   large files, as they were uploaded
                                objects/git/{sha1}     small files, under git's own blob id
                                commits/{oid}.json     never changed: parent, title, the whole tree
                                refs/heads/main, refs/tags/{quoted name}   one line: a commit's oid

A commit writes objects, then the commit's file, then renames the ref: **the rename is the commit**. Every
file comes into being by a rename, so a server killed at any point leaves the old state or the new one.
Nothing is fsynced: the folder must outlive a process, not a power cut. One server writes to a folder; any
number of stores may read beside it.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tests.hub.objects import (
    DeleteFile,
    DeleteFolder,
    Entry,
    Put,
    Refused,
    git_blob_oid,
    lfs_entry,
    sha256_of_file,
    wants_lfs,
)

GIT_ATTRIBUTES = "".join(
    f"*.{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in ("parquet", "wav", "mp3", "flac", "zip")
)
STALE_PARENT = "A commit has happened since. Please refresh and try again."


@dataclass(frozen=True)
class Settings:
    """Who may see a repo. Its owner always may; `allowed` names further readers of a gated one."""

    private: bool = False
    gated: bool = False
    allowed: tuple[str, ...] = ()
    created_at: str = ""


@dataclass(frozen=True)
class Commit:
    """One immutable revision: what it says and the whole tree, path -> entry, sorted by path."""

    oid: str
    parent: str | None
    title: str
    description: str
    author: str
    date: str
    tree: dict[str, Entry]


class Store:
    """All repos under `root`. Safe for threads; writes to one repo are serialised.

    Refusals are `Refused`, with the status, message and error code that the Hub gives.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._repos = root / "repos"
        self._incoming = root / "incoming"
        self._xorbs = root / "xorbs"
        for folder in (self._repos, self._incoming, self._xorbs):
            folder.mkdir(parents=True, exist_ok=True)
        self.secret = self._make_secret()
        self._locks: dict[str, threading.RLock] = {}
        self._load = lru_cache(maxsize=64)(self._read_commit)

    def sweep(self) -> None:
        """Drop what a dead server left half-written. Only for the one server of this folder, at its start."""
        shutil.rmtree(self._incoming)
        self._incoming.mkdir()

    # -- repos ------------------------------------------------------------------------------------------

    def create(self, repo_id: str, *, private: bool = False) -> None:
        """Make a repo with its first commit, as the Hub does: it holds `.gitattributes` only."""
        with self._lock(repo_id):
            if self.settings(repo_id) is not None:
                raise Refused(409, f"You already created this dataset repo: {repo_id}")
            folder = self._folder(repo_id)
            shutil.rmtree(folder, ignore_errors=True)  # what a server that died at this very point left
            for part in ("objects/lfs", "objects/git", "commits", "refs/heads", "refs/tags"):
                (folder / part).mkdir(parents=True)
            attributes = self.put_regular(repo_id, ".gitattributes", GIT_ATTRIBUTES.encode())
            self.commit(repo_id, [attributes], title="initial commit", author=repo_id.split("/")[0])
            # A repo exists once it has settings, so they come last.
            settings = Settings(private=private, created_at=_now())
            self._write(folder / "settings.json", json.dumps(asdict(settings)))

    def rename(self, repo_id: str, new: str) -> None:
        """The whole repo, under another name."""
        self._folder(new).parent.mkdir(parents=True, exist_ok=True)
        self._folder(repo_id).rename(self._folder(new))

    def delete(self, repo_id: str) -> None:
        """Remove a repo with all its commits."""
        doomed = self.incoming_path()
        self._folder(repo_id).rename(doomed)
        shutil.rmtree(doomed)

    def settings(self, repo_id: str) -> Settings | None:
        """The repo's settings; None where there is no such repo."""
        try:
            fields = json.loads((self._folder(repo_id) / "settings.json").read_text())
        except FileNotFoundError:
            return None
        return Settings(**{**fields, "allowed": tuple(fields["allowed"])})

    def change_settings(self, repo_id: str, **changes: Any) -> None:
        """Set some of the settings of an existing repo."""
        settings = self.settings(repo_id)
        assert settings is not None
        self._write(self._folder(repo_id) / "settings.json", json.dumps(asdict(replace(settings, **changes))))

    def add_folder(self, repo_id: str, folder: Path, *, link: bool = False) -> str:
        """Make the repo's files exactly those of `folder`, in one commit; return its oid.

        `link` makes hard links of the large ones: quick, but then they must never be written to again.
        """
        puts = [self._put_file(repo_id, path, folder, link=link) for path in _files(folder)]
        kept = {put.path for put in puts} | {".gitattributes"}
        tree = self.load(repo_id, self.resolve(repo_id, "main")).tree
        deletes = [DeleteFile(path) for path in tree if path not in kept]
        return self.commit(repo_id, [*deletes, *puts], title=f"Add {len(puts)} files", author=repo_id.split("/")[0])

    # -- objects ----------------------------------------------------------------------------------------

    def incoming_path(self) -> Path:
        """A fresh name for something half-written, on the same file system as the objects."""
        return self._incoming / secrets.token_hex(12)

    def put_regular(self, repo_id: str, path: str, content: bytes) -> Put:
        """Store a small file's bytes and return the change that a commit makes of them."""
        oid = git_blob_oid(content)
        target = self._folder(repo_id) / "objects" / "git" / oid
        if not target.exists():
            draft = self.incoming_path()
            draft.write_bytes(content)
            draft.replace(target)
        return Put(path, Entry(oid=oid, size=len(content)))

    def keep_lfs(self, repo_id: str, sha256: str, received: Path) -> None:
        """Take a completely received large file into the repo (moves it)."""
        received.replace(self._lfs_path(repo_id, sha256))

    def lfs_size(self, repo_id: str, sha256: str) -> int | None:
        """Size in bytes of a large file that the repo has, committed or not; None where it has not."""
        try:
            return self._lfs_path(repo_id, sha256).stat().st_size
        except FileNotFoundError:
            return None

    def xorb_path(self, name: str) -> Path:
        """Where a xorb lies, or is to lie: those of all repos beside each other, as their chunks are shared."""
        return self._xorbs / name

    def object_path(self, repo_id: str, entry: Entry) -> Path:
        """The file that holds an entry's bytes."""
        if entry.lfs is not None:
            return self._lfs_path(repo_id, entry.lfs)
        return self._folder(repo_id) / "objects" / "git" / entry.oid

    # -- commits ----------------------------------------------------------------------------------------

    def commit(
        self,
        repo_id: str,
        changes: Iterable[Put | DeleteFile | DeleteFolder],
        *,
        title: str,
        author: str,
        description: str = "",
        parent: str | None = None,
    ) -> str:
        """Apply all changes to `main` or none; return the new head.

        `parent` (5 to 40 hex digits), where given, must still be the head: else `Refused` with 412.
        """
        with self._lock(repo_id):
            head = self._read_ref(repo_id, "heads/main")
            if parent is not None and (head is None or not head.startswith(parent.lower())):
                raise Refused(412, STALE_PARENT)
            tree = dict(self.load(repo_id, head).tree) if head is not None else {}
            changed = _apply(tree, changes)
            _check_no_file_is_a_folder(tree)
            says = {"title": title, "description": description, "author": author, "date": _now()}
            oid = _commit_oid(head, says, tree)
            for path in changed & tree.keys():
                tree[path] = replace(tree[path], changed_in=oid)
            rows = {path: [e.oid, e.size, e.lfs, e.changed_in] for path, e in sorted(tree.items())}
            document = {"parent": head, **says, "tree": rows}
            self._write(self._commit_path(repo_id, oid), json.dumps(document, ensure_ascii=False))
            self._write(self._folder(repo_id) / "refs" / "heads" / "main", oid)
        return oid

    def load(self, repo_id: str, oid: str) -> Commit:
        """The commit with this full oid. Shared: do not change its tree."""
        return self._load(repo_id, oid)

    def history(self, repo_id: str, oid: str) -> Iterator[Commit]:
        """The commit and its ancestors, newest first."""
        following: str | None = oid
        while following is not None:
            commit = self.load(repo_id, following)
            yield commit
            following = commit.parent

    # -- refs -------------------------------------------------------------------------------------------

    def resolve(self, repo_id: str, revision: str) -> str:
        """The full oid that a branch, tag, full or shortened (7 digits or more) oid names."""
        for ref in (f"heads/{quote(revision, safe='')}", f"tags/{quote(revision, safe='')}"):
            if (oid := self._read_ref(repo_id, ref)) is not None:
                return oid
        if re.fullmatch(r"[0-9a-f]{40}", revision) and self._commit_path(repo_id, revision).exists():
            return revision
        if re.fullmatch(r"[0-9a-f]{7,39}", revision):
            found = [path.stem for path in (self._folder(repo_id) / "commits").glob(f"{revision}*.json")]
            if len(found) == 1:
                return found[0]
        raise Refused(404, f"Invalid rev id: {revision}", code="RevisionNotFound")

    def refs(self, repo_id: str, kind: str) -> dict[str, str]:
        """Name -> oid of all refs of a kind: `heads` or `tags`."""
        folder = self._folder(repo_id) / "refs" / kind
        return {unquote(path.name): path.read_text() for path in sorted(folder.iterdir())}

    def tag(self, repo_id: str, name: str, oid: str) -> None:
        """Name a commit, for good: a tag that exists is never moved (409)."""
        with self._lock(repo_id):
            ref = self._folder(repo_id) / "refs" / "tags" / quote(name, safe="")
            if ref.exists():
                raise Refused(409, "Tag reference exists already")
            self._write(ref, oid)

    def untag(self, repo_id: str, name: str) -> None:
        """Remove a tag; the commits stay."""
        with self._lock(repo_id):
            try:
                (self._folder(repo_id) / "refs" / "tags" / quote(name, safe="")).unlink()
            except FileNotFoundError:
                raise Refused(404, f"Invalid rev id: {name}", code="RevisionNotFound") from None

    # -- inside -----------------------------------------------------------------------------------------

    def _put_file(self, repo_id: str, path: Path, folder: Path, *, link: bool) -> Put:
        name = path.relative_to(folder).as_posix()
        size = path.stat().st_size
        with path.open("rb") as file:
            sample = file.read(512)
        if not wants_lfs(name, size, sample):
            return self.put_regular(repo_id, name, path.read_bytes())
        sha256 = sha256_of_file(path)
        if self.lfs_size(repo_id, sha256) is None:
            draft = self.incoming_path()
            if link:
                os.link(path, draft)
            else:
                shutil.copyfile(path, draft)
            self.keep_lfs(repo_id, sha256, draft)
        return Put(name, lfs_entry(sha256, size))

    def _read_commit(self, repo_id: str, oid: str) -> Commit:
        fields = json.loads(self._commit_path(repo_id, oid).read_text())
        tree = {path: Entry(*row) for path, row in fields.pop("tree").items()}
        return Commit(oid=oid, tree=tree, **fields)

    def _read_ref(self, repo_id: str, ref: str) -> str | None:
        try:
            return (self._folder(repo_id) / "refs" / ref).read_text()
        except (FileNotFoundError, IsADirectoryError):
            return None

    def _write(self, target: Path, text: str) -> None:
        draft = self.incoming_path()
        draft.write_text(text)
        draft.replace(target)

    def _make_secret(self) -> bytes:
        path = self.root / "secret"
        if not path.exists():
            self._write(path, secrets.token_hex(16))
        return path.read_text().encode()

    def _lock(self, repo_id: str) -> threading.RLock:
        return self._locks.setdefault(repo_id, threading.RLock())

    def _folder(self, repo_id: str) -> Path:
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo_id):
            raise Refused(404, "Repository not found", code="RepoNotFound")
        return self._repos / repo_id

    def _commit_path(self, repo_id: str, oid: str) -> Path:
        return self._folder(repo_id) / "commits" / f"{oid}.json"

    def _lfs_path(self, repo_id: str, sha256: str) -> Path:
        return self._folder(repo_id) / "objects" / "lfs" / sha256


def _apply(tree: dict[str, Entry], changes: Iterable[Put | DeleteFile | DeleteFolder]) -> set[str]:
    """Change `tree` in place, in order; return the paths that were put."""
    put: set[str] = set()
    for change in changes:
        match change:
            case Put(path, entry):
                tree[path] = entry
                put.add(path)
            case DeleteFile(path):
                if tree.pop(path, None) is None:
                    raise Refused(404, f"A file with this name doesn't exist: {path}", code="EntryNotFound")
            case DeleteFolder(path):
                doomed = [name for name in tree if name.startswith(f"{path.rstrip('/')}/")]
                if not doomed:
                    raise Refused(404, f"A folder with this name doesn't exist: {path}", code="EntryNotFound")
                for name in doomed:
                    del tree[name]
    return put


def _check_no_file_is_a_folder(tree: dict[str, Entry]) -> None:
    folders = {path[:at] for path in tree for at, letter in enumerate(path) if letter == "/"}
    if both := folders & tree.keys():
        raise Refused(400, f"Paths are files and folders at once: {sorted(both)}")


def _commit_oid(parent: str | None, says: dict[str, str], tree: dict[str, Entry]) -> str:
    rows = sorted((path, entry.oid) for path, entry in tree.items())
    text = json.dumps([parent, says, rows])
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
