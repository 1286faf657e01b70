"""A Mozilla Data Collective for the tests: real HTTP on loopback, one dataset with one archive; no internet.

    with CollectiveServer("mcv-scripted-th-v25.0", "cv.tar.gz", content) as collective:
        collective.answers["download"] = [403]      # the next answers of a step, in place of what it would say

Steps: `details`, `download` (a session), `bytes`. Besides a status an answer may be `lost` (the connection closes),
`half` (of the bytes that were asked for) and `html` (200, and no JSON). An address serves `serves` times, then it has
expired.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

KEY = "mdc_test_key"  # it opens nothing but this server


@dataclass
class CollectiveServer:
    """The server; `asked` has the step and the range of each request."""

    slug: str
    filename: str
    content: bytes
    serves: int = 1_000_000
    checksum: str | None = None
    knows_ranges: bool = True
    answers: dict[str, list[int | str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    _addresses: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        collective = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802 - the library's name
                collective._answer(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    @property
    def bytes_asked(self) -> list[str]:
        """The ranges of the archive that were asked for."""
        return [wanted for step, wanted in self.asked if step == "bytes"]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        steps = {f"/api/datasets/{self.slug}": "details", f"/api/datasets/{self.slug}/download": "download"}
        step = steps.get(path, "bytes")
        self.asked.append((step, request.headers.get("Range", "")))
        self.headers.append(dict(request.headers))
        told = (self.answers.get(step) or [None]).pop(0)
        if told == "lost":
            request.close_connection = True
        elif told == "html":
            self._send(request, 200, b"<html>hello</html>")
        elif isinstance(told, int):
            self._send(request, told, b'{"error": "asked for by the test"}')
        elif step == "details":
            self._send(request, 200, json.dumps(self._details()).encode())
        elif step == "download":
            self._begin_session(request)
        else:
            self._serve(request, query, is_half=told == "half")

    def _details(self) -> dict[str, Any]:
        checksum = self.checksum or hashlib.sha256(self.content).hexdigest()
        return {"id": "cmabc", "filename": self.filename, "sizeBytes": str(len(self.content)), "checksum": checksum}

    def _begin_session(self, request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            self._send(request, 401, b"{}")
            return
        signature = f"signature={len(self._addresses)}"
        self._addresses[signature] = self.serves
        told = {**self._details(), "downloadUrl": f"{self.url}/files/{self.filename}?{signature}"}
        self._send(request, 200, json.dumps(told).encode())

    def _serve(self, request: BaseHTTPRequestHandler, signature: str, is_half: bool) -> None:
        if self._addresses.get(signature, 0) < 1:
            self._send(request, 403, b"<Error>Request has expired</Error>")
            return
        self._addresses[signature] -= 1
        first, _, last = request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        piece = self.content[int(first) : int(last) + 1] if self.knows_ranges else self.content
        self._send(request, 206 if self.knows_ranges else 200, piece, sent=len(piece) // 2 if is_half else None)

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, sent: int | None = None) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[:sent])
        request.close_connection = sent is not None
