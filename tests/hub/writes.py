"""The calls that change something: repos, uploads, commits, tags."""

import base64
import json
import re
from dataclasses import asdict
from typing import Any

import yaml
from pathspec import GitIgnoreSpec

from tests.hub.call import Call
from tests.hub.objects import (
    REGULAR_FILE_MAX_BYTES,
    DeleteFile,
    DeleteFolder,
    Entry,
    Put,
    Refused,
    lfs_entry,
    wants_lfs,
)
from tests.hub.wire import Answer, json_answer

_CARD = re.compile(r"---\s*\n(.*?)\n---\s*(\n|$)", re.DOTALL)


def create_repo(call: Call) -> Answer:
    """Make a dataset in one's own namespace; 409 where it is there already."""
    user, wanted = call.signed_in(), call.document
    if wanted.get("type") != "dataset":
        raise Refused(400, "This Hub keeps datasets only")
    owner = wanted.get("organization") or user
    if owner != user:
        raise Refused(403, f"You don't have the rights to create a dataset under the namespace {owner}")
    repo = f"{owner}/{wanted['name']}"
    url = {"url": f"{call.place.endpoint}/datasets/{repo}"}
    try:
        call.store.create(repo, private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
    except Refused as refusal:
        return json_answer({"error": refusal.message, **url}, status=refusal.status)
    return json_answer({**url, "name": repo})


def delete_repo(call: Call) -> Answer:
    """Remove a dataset of one's own."""
    wanted = call.document
    owner = wanted.get("organization") or call.signed_in()
    doomed = Call(call.place, call.request, {"repo": f"{owner}/{wanted['name']}"})
    doomed.writable()
    call.store.delete(doomed.repo)
    return json_answer({})


def settings(call: Call) -> Answer:
    """Make a repo private, public, gated or open."""
    call.writable()
    wanted, changes = call.document, {}
    if "visibility" in wanted:
        changes["private"] = wanted["visibility"] == "private"
    if "gated" in wanted:
        changes["gated"] = bool(wanted["gated"])
    call.store.change_settings(call.repo, **changes)
    return json_answer(asdict(call.readable()))


def validate_yaml(call: Call) -> Answer:
    """Whether a card's metadata can be read; a card without any gets a warning."""
    card = _CARD.match(call.document["content"])
    if card is None:
        return json_answer({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    try:
        message = "" if isinstance(yaml.safe_load(card[1]), dict) else "metadata must be a mapping"
    except yaml.YAMLError as error:
        message = str(error)
    errors = [{"message": message}] if message else []
    return json_answer({"errors": errors, "warnings": []}, status=400 if errors else 200)


def preupload(call: Call) -> Answer:
    """How each file is to be sent, what the repo has under its name, and whether its `.gitignore` leaves it out."""
    call.writable()
    known = call.commit().tree
    ignored = GitIgnoreSpec.from_lines(_gitignore(call, known).splitlines())
    files = []
    for file in call.document["files"]:
        path, sample = file["path"], base64.b64decode(file.get("sample", ""))
        mode = "lfs" if wants_lfs(path, file["size"], sample) else "regular"
        oid = {"oid": known[path].lfs or known[path].oid} if path in known else {}
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": ignored.match_file(path), **oid})
    return json_answer({"files": files})


def _gitignore(call: Call, tree: dict[str, Entry]) -> str:
    given = call.document.get("gitIgnore")
    if given is not None or ".gitignore" not in tree:
        return str(given or "")
    return call.store.object_path(call.repo, tree[".gitignore"]).read_text()


def lfs_batch(call: Call) -> Answer:
    """Where to put each large file; nowhere, if the repo has it."""
    call.writable()
    answered = []
    for wanted in call.document["objects"]:
        described: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
        if call.store.lfs_size(call.repo, wanted["oid"]) is None:
            upload = call.place.cdn + call.place.signed(f"/_lfs/{call.repo}/{wanted['oid']}")
            verify = f"{call.place.endpoint}/datasets/{call.repo}.git/info/lfs/verify"
            described["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
        answered.append(described)
    return json_answer({"transfer": "basic", "objects": answered})


def lfs_put(call: Call) -> Answer:
    """Take a large file, if it is what its address says."""
    call.check_signature()
    upload = call.request.upload
    assert upload is not None
    if upload.sha256 != call.parts["sha256"]:
        upload.path.unlink()
        raise Refused(400, "The content does not match its sha256")
    call.store.keep_lfs(call.repo, upload.sha256, upload.path)
    return Answer(200)


def lfs_verify(call: Call) -> Answer:
    """Whether a large file arrived whole."""
    call.writable()
    wanted = call.document
    if call.store.lfs_size(call.repo, wanted["oid"]) != wanted["size"]:
        raise Refused(404, f"Object {wanted['oid']} is not there, or has another size")
    return json_answer({"message": "ok"})


def commit(call: Call) -> Answer:
    """All changes at once, or a refusal: 412 when `main` is not at the parent that was named."""
    user = call.writable()
    if call.parts["rev"] not in call.store.refs(call.repo, "heads"):
        raise Refused(404, f"Invalid rev id: {call.parts['rev']}", code="RevisionNotFound")
    lines = [_line(call, line) for line in call.request.body.splitlines() if line.strip()]
    header = next((value for key, value in lines if key == "header"), {})
    if not header.get("summary"):
        raise Refused(400, "A commit needs a summary")
    oid = call.store.commit(
        call.repo,
        [_change(call, key, value) for key, value in lines if key != "header"],
        title=header["summary"],
        description=header.get("description", ""),
        author=user,
        parent=header.get("parentCommit"),
    )
    url = f"{call.place.endpoint}/datasets/{call.repo}/commit/{oid}"
    return json_answer({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})


def tag(call: Call) -> Answer:
    """Name a commit."""
    call.writable()
    call.store.tag(call.repo, call.document["tag"], call.commit().oid)
    return json_answer({})


def delete_tag(call: Call) -> Answer:
    """Forget a name."""
    call.writable()
    call.store.untag(call.repo, call.parts["rev"])
    return json_answer({})


def _line(call: Call, line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        document = json.loads(line)
        return document["key"], document["value"]
    except (ValueError, KeyError, TypeError):
        raise Refused(400, f"Not a line of a commit: {line[:80]!r}") from None


def _change(call: Call, key: str, value: dict[str, Any]) -> Put | DeleteFile | DeleteFolder:
    path = value.get("path", "")
    if not path or {"", ".", "..", ".git"} & set(path.rstrip("/").split("/")):
        raise Refused(400, f"Invalid path: {path!r}")
    match key:
        case "file":
            return _regular_file(call, path, value)
        case "lfsFile":
            return _large_file(call, path, value)
        case "deletedFile":
            return DeleteFile(path)
        case "deletedFolder":
            return DeleteFolder(path)
    raise Refused(400, f"Unknown change: {key!r}")


def _regular_file(call: Call, path: str, value: dict[str, Any]) -> Put:
    content = value.get("content", "")
    raw = base64.b64decode(content) if value.get("encoding") == "base64" else content.encode()
    if len(raw) > REGULAR_FILE_MAX_BYTES:
        raise Refused(400, f"{path} is larger than 10 MB: upload it through LFS")
    return call.store.put_regular(call.repo, path, raw)


def _large_file(call: Call, path: str, value: dict[str, Any]) -> Put:
    sha256 = value.get("oid", "")
    size = call.store.lfs_size(call.repo, sha256) if re.fullmatch("[0-9a-f]{64}", sha256) else None
    if size is None or value.get("size", size) != size:
        raise Refused(400, f"LFS pointer pointed to a file that does not exist: {path}")
    return Put(path, lfs_entry(sha256, size))
