"""Which request is which call. Every call has the name of the step that faults and tests know it by."""

import re
from urllib.parse import unquote, urlencode

from tests.hub import reads, writes, xet
from tests.hub.call import Call, Place
from tests.hub.objects import Refused
from tests.hub.wire import Answer, Request, json_answer

_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/datasets/{_REPO}"
_GIT = rf"/datasets/{_REPO}\.git/info/lfs"
_REV = r"(?P<rev>[^/]+)"
_SHA = r"(?P<sha256>[0-9a-f]{64})"

_CALLS = [
    (methods, re.compile(pattern), call)
    for methods, pattern, call in (
        (("GET",), r"/api/whoami-v2", reads.whoami),
        (("POST",), r"/api/repos/create", writes.create_repo),
        (("DELETE",), r"/api/repos/delete", writes.delete_repo),
        (("POST",), r"/api/validate-yaml", writes.validate_yaml),
        (("GET",), rf"{_API}(/revision/{_REV})?", reads.repo_info),
        (("PUT",), rf"{_API}/settings", writes.settings),
        (("GET",), rf"{_API}/auth-check(?P<write>/write)?", reads.auth_check),
        (("POST",), rf"{_API}/preupload/{_REV}", writes.preupload),
        (("POST",), rf"{_API}/commit/{_REV}", writes.commit),
        (("GET",), rf"{_API}/tree/{_REV}(/(?P<path>.*))?", reads.tree),
        (("POST",), rf"{_API}/paths-info/{_REV}", reads.paths_info),
        (("GET",), rf"{_API}/refs", reads.refs),
        (("GET",), rf"{_API}/commits/{_REV}", reads.commits),
        (("POST",), rf"{_API}/tag/{_REV}", writes.tag),
        (("DELETE",), rf"{_API}/tag/{_REV}", writes.delete_tag),
        (("POST",), rf"{_GIT}/objects/batch", writes.lfs_batch),
        (("POST",), rf"{_GIT}/verify", writes.lfs_verify),
        (("PUT",), rf"/_lfs/{_REPO}/{_SHA}", writes.lfs_put),
        (("GET",), rf"{_API}/xet-(?P<kind>read|write)-token/{_REV}", xet.xet_token),
        (("POST",), r"/v1/xorbs/default/(?P<xorb>[0-9a-f]{64})", xet.xet_xorb),
        (("POST",), r"/v1/shards", xet.xet_shard),
        (("GET", "HEAD"), rf"/datasets/{_REPO}/resolve/{_REV}/(?P<path>.+)", reads.resolve),
        (("GET", "HEAD"), rf"/_cdn/{_REPO}/{_SHA}/(?P<path>.+)", reads.cdn),
    )
]


def step_of(method: str, target: str) -> str:
    """The name of a request's step; `unknown` where it is none of the Hub's."""
    path = target.partition("?")[0]
    if path.startswith("/_control/"):
        return "control"
    found = (call.__name__ for methods, route, call in _CALLS if method in methods and route.fullmatch(path))
    return next(found, "unknown")


def answer(place: Place, request: Request) -> Answer:
    """What the Hub says; a refusal is an answer as well."""
    try:
        for methods, route, call in _CALLS:
            if request.method in methods and (found := route.fullmatch(request.path)):
                named = {name: unquote(part) for name, part in found.groupdict().items() if part is not None}
                if new := place.renamed.get(named.get("repo", "")):
                    query = urlencode(request.query, doseq=True)
                    return Answer(307, headers={"Location": f"{request.path.replace(named['repo'], new, 1)}?{query}"})
                return call(Call(place, request, named))
        raise Refused(404, f"Not Found: {request.path}")
    except Refused as refusal:
        return _refusal(refusal)


def _refusal(refusal: Refused) -> Answer:
    said = json_answer({"error": refusal.message}, status=refusal.status, X_Error_Message=refusal.message)
    code = {"X-Error-Code": refusal.code} if refusal.code is not None else {}
    return Answer(said.status, said.body, said.headers | code | refusal.headers)
