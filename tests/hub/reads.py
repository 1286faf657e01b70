"""The calls that change nothing: accounts, repos, listings and the bytes of files."""

import re
from urllib.parse import parse_qs, quote

from tests.hub import listing
from tests.hub.call import Call
from tests.hub.objects import Entry, Refused, lfs_entry
from tests.hub.wire import Answer, FilePart, json_answer

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def whoami(call: Call) -> Answer:
    """Whose token this is."""
    name = call.signed_in()
    auth = {"type": "access_token", "accessToken": {"displayName": "tests", "role": "write"}}
    return json_answer({"type": "user", "name": name, "fullname": name, "orgs": [], "auth": auth})


def repo_info(call: Call) -> Answer:
    """A repo at a revision. A gated one as well: only its files are closed."""
    settings = call.readable()
    return json_answer(
        listing.repo_info(call.repo, settings, call.commit(), with_sizes=_is_set(call.request.query, "blobs"))
    )


def auth_check(call: Call) -> Answer:
    """Whether the files may be read, or the repo written to."""
    call.files_open()
    if "write" in call.parts:
        call.writable()
    return json_answer({})


def tree(call: Call) -> Answer:
    """A folder's listing, page by page. The cursor pins the commit, so that pages fit together."""
    call.readable()
    query = call.request.query
    oid, _, start = query["cursor"][0].partition(":") if "cursor" in query else (call.commit().oid, "", "0")
    commit, path = call.store.load(call.repo, oid), call.parts.get("path", "").strip("/")
    entries = listing.folder(commit.tree, path, recursive=_is_set(query, "recursive"))
    if entries is None:
        raise Refused(404, f"{path} does not exist", code="EntryNotFound", headers={"X-Repo-Commit": oid})
    end = int(start) + call.place.page_size
    page = entries[int(start) : end]
    if _is_set(query, "expand"):
        history = list(call.store.history(call.repo, oid))
        page = [listing.with_last_commit(entry, commit.tree, history) for entry in page]
    if end >= len(entries):
        return json_answer(page)
    flags = "".join(f"{name}={query[name][0]}&" for name in ("recursive", "expand") if name in query)
    following = f"{call.place.endpoint}{call.request.path}?{flags}cursor={oid}:{end}"
    return json_answer(page, Link=f'<{following}>; rel="next"')


def paths_info(call: Call) -> Answer:
    """The files and folders at some paths; those that are not there are left out."""
    call.readable()
    commit, wanted = call.commit(), parse_qs(call.request.body.decode())
    found = [listing.find(commit.tree, path.strip("/")) for path in wanted.get("paths", [])]
    entries = [entry for entry in found if entry is not None]
    if _is_set(wanted, "expand"):
        history = list(call.store.history(call.repo, commit.oid))
        entries = [listing.with_last_commit(entry, commit.tree, history) for entry in entries]
    return json_answer(entries)


def refs(call: Call) -> Answer:
    """Branches and tags."""
    call.readable()
    found: dict[str, list[dict[str, str]]] = {"converts": [], "pullRequests": []}
    for key, kind in (("branches", "heads"), ("tags", "tags")):
        found[key] = [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid}
            for name, oid in call.store.refs(call.repo, kind).items()
        ]
    return json_answer(found)


def commits(call: Call) -> Answer:
    """The history of a revision, newest first, in one page."""
    call.readable()
    history = call.store.history(call.repo, call.commit().oid)
    return json_answer([listing.commit_json(commit) for commit in history])


def resolve(call: Call) -> Answer:
    """A small file itself; for a large one, where to get it."""
    call.files_open()
    commit, path = call.commit(), call.parts["path"]
    pinned, entry = {"X-Repo-Commit": commit.oid}, commit.tree.get(path)
    if entry is None:
        raise Refused(404, "Entry not found", code="EntryNotFound", headers=pinned)
    if entry.lfs is None:
        return _file(call, entry, pinned | {"ETag": f'"{entry.oid}"'})
    location = call.place.cdn + call.place.signed(f"/_cdn/{call.repo}/{entry.lfs}/{quote(path)}")
    linked = {"X-Linked-Etag": f'"{entry.lfs}"', "X-Linked-Size": str(entry.size)}
    return Answer(302, headers={"Location": location, **pinned, **linked})


def cdn(call: Call) -> Answer:
    """A large file, for whoever was given its address."""
    call.check_signature()
    sha256 = call.parts["sha256"]
    size = call.store.lfs_size(call.repo, sha256)
    if size is None:
        raise Refused(404, "Not Found")
    return _file(call, lfs_entry(sha256, size), {"ETag": f'"{sha256}"'})


def _file(call: Call, entry: Entry, headers: dict[str, str]) -> Answer:
    """All of a file, or the one range of it that was asked for."""
    path = call.store.object_path(call.repo, entry)
    headers = headers | {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    asked = _RANGE.fullmatch(call.request.headers.get("range", ""))
    if asked is None or not any(asked.groups()):
        return Answer(200, FilePart(path, 0, entry.size), headers)
    first, last = asked.groups()
    start = int(first) if first else max(entry.size - int(last), 0)
    end = min(int(last) + 1, entry.size) if first and last else entry.size
    if start >= end:
        raise Refused(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{entry.size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{entry.size}"
    return Answer(206, FilePart(path, start, end - start), headers)


def _is_set(query: dict[str, list[str]], flag: str) -> bool:
    return query.get(flag, [""])[0].lower() in ("true", "1")
