"""Xet, as far as uploads need it: a token of the Hub's, then xorbs and shards to the CAS, which is this server, too.

A file is rebuilt when its shard comes, held against its sha256 and kept as one that came through LFS is: commits,
listings and ranges serve it as any other. Routes that are not here (`/v2/shards`, grants, telemetry, the lookup of
chunks) are 404, and the client falls back.
"""

import time

from tests.hub.call import Call
from tests.hub.objects import Refused, sha256_of_file
from tests.hub.wire import Answer, json_answer
from tests.hub.xet_formats import SentFile, chunks, sent_files

_TOKEN_LASTS_S = 3600


def xet_token(call: Call) -> Answer:
    """Where the CAS is, and what lets its bearer write to one repo."""
    if call.parts["kind"] == "write":
        call.writable()
    else:
        call.files_open()
    token, end = call.place.signed(call.repo), int(time.time()) + _TOKEN_LASTS_S
    said = {"casUrl": call.place.endpoint, "accessToken": token, "exp": end}
    headers = {
        "X_Xet_Cas_Url": call.place.endpoint,
        "X_Xet_Access_Token": token,
        "X_Xet_Token_Expiration": str(end),
    }
    return json_answer(said, **headers)


def xet_xorb(call: Call) -> Answer:
    """Take a xorb. Its name is a hash of its chunks, which is not checked: a file's sha256 is."""
    _repo_of(call)
    target = call.store.xorb_path(call.parts["xorb"])
    is_new = not target.exists()
    draft = call.store.incoming_path()
    draft.write_bytes(call.request.body)
    draft.replace(target)
    return json_answer({"was_inserted": is_new})


def xet_shard(call: Call) -> Answer:
    """Rebuild each file that the shard tells of."""
    repo = _repo_of(call)
    for file in sent_files(call.request.body):
        _rebuild(call, repo, file)
    return json_answer({"result": 1})


def _rebuild(call: Call, repo: str, file: SentFile) -> None:
    draft = call.store.incoming_path()
    with draft.open("wb") as rebuilt:
        for term in file.terms:
            xorb = call.store.xorb_path(term.xorb)
            if not xorb.exists():
                raise Refused(400, "A shard names a xorb that never came")
            for number, chunk in enumerate(chunks(xorb)):
                if term.first <= number < term.end:
                    rebuilt.write(chunk)
    if sha256_of_file(draft) != file.sha256:
        draft.unlink()
        raise Refused(400, "A file is not what its sha256 says")
    call.store.keep_lfs(repo, file.sha256, draft)


def _repo_of(call: Call) -> str:
    """The repo that the CAS token lets its bearer write to."""
    repo = call.bearer.partition("?")[0]
    if call.place.signed(repo) != call.bearer:
        raise Refused(401, "Invalid CAS token")
    return repo
