"""The JSON that describes repos, folders, files and commits, in the Hub's own shapes. Pure."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from tests.hub.objects import Entry, lfs_pointer
from tests.hub.store import Commit, Settings

Description = dict[str, Any]


def repo_info(repo_id: str, settings: Settings, commit: Commit, *, with_sizes: bool) -> Description:
    """A dataset at a commit; `with_sizes` is what the client calls `files_metadata`."""
    return {
        "_id": hashlib.sha256(repo_id.encode()).hexdigest()[:24],
        "id": repo_id,
        "author": repo_id.partition("/")[0],
        "sha": commit.oid,
        "createdAt": settings.created_at,
        "lastModified": commit.date,
        "private": settings.private,
        "gated": "manual" if settings.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [_sibling(path, entry, with_sizes) for path, entry in commit.tree.items()],
    }


def folder(tree: dict[str, Entry], path: str, *, recursive: bool) -> list[Description] | None:
    """What is in a folder (`""`: all), sorted by path; the file itself for a file; None for neither."""
    if path in tree:
        return [_file(path, tree[path])]
    prefix = f"{path}/" if path else ""
    below = {name: entry for name, entry in tree.items() if name.startswith(prefix)}
    if not below and path:
        return None
    folders: dict[str, dict[str, Entry]] = {}
    for name, entry in below.items():
        for parent in _parents(name, prefix):
            folders.setdefault(parent, {})[name] = entry
    entries = [_folder(name, inside) for name, inside in folders.items()]
    entries += [_file(name, entry) for name, entry in below.items()]
    if not recursive:
        entries = [entry for entry in entries if "/" not in entry["path"][len(prefix) :]]
    return sorted(entries, key=lambda entry: entry["path"])


def find(tree: dict[str, Entry], path: str) -> Description | None:
    """The file or folder at a path, None where there is neither."""
    if path in tree:
        return _file(path, tree[path])
    below = {name: entry for name, entry in tree.items() if name.startswith(f"{path}/")}
    return _folder(path, below) if below and path else None


def with_last_commit(described: Description, tree: dict[str, Entry], history: Iterable[Commit]) -> Description:
    """The description of a file or folder, with the newest commit that changed it."""
    path = described["path"]
    changed_in = {e.changed_in for name, e in tree.items() if name == path or name.startswith(f"{path}/")}
    newest = next(commit for commit in history if commit.oid in changed_in)
    return described | {"lastCommit": {"id": newest.oid, "title": newest.title, "date": newest.date}}


def commit_json(commit: Commit) -> Description:
    """One line of a repo's history."""
    return {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.description,
        "authors": [{"user": commit.author}],
        "date": commit.date,
    }


def _parents(path: str, prefix: str) -> list[str]:
    """The folders that lead to a path, below `prefix`."""
    inner = path[len(prefix) :]
    return [prefix + inner[:at] for at, letter in enumerate(inner) if letter == "/"]


def _file(path: str, entry: Entry) -> Description:
    described = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    return described | _lfs(entry, lambda lfs: {"oid": lfs})


def _folder(path: str, inside: dict[str, Entry]) -> Description:
    names = "".join(f"{name}\0{entry.oid}\n" for name, entry in inside.items())
    oid = hashlib.sha1(names.encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def _sibling(path: str, entry: Entry, with_sizes: bool) -> Description:
    if not with_sizes:
        return {"rfilename": path}
    described = {"rfilename": path, "size": entry.size, "blobId": entry.oid}
    return described | _lfs(entry, lambda lfs: {"sha256": lfs})


def _lfs(entry: Entry, name: Callable[[str], Description]) -> Description:
    """The part that only large files have; trees and siblings name its sha256 differently."""
    if entry.lfs is None:
        return {}
    sizes = {"size": entry.size, "pointerSize": len(lfs_pointer(entry.lfs, entry.size))}
    return {"lfs": name(entry.lfs) | sizes}
