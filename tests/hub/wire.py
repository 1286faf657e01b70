"""HTTP in and out: requests are read, faults strike, answers are sent - in chunks, never a file in memory.

A request's way: arrive (written down) -> read the body -> fault before -> the Hub's answer -> fault after ->
written down as done -> sent -> fault in the body. Clients come and go as they like; that is no error here.
"""

import contextlib
import hashlib
import json
import re
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.hub.faults import FaultBook, Rule
from tests.hub.ledger import Ledger, Seen

_CHUNK_BYTES = 1 << 18
_CATCH_UP_S = 0.05
"""A connection that was late may be quicker than its rate for so long; idle time buys no more."""
_STOP_WAIT_S = 10.0
_MESSAGES = {
    401: "Invalid credentials in Authorization header",
    403: "You don't have the rights to write to this repository.",
    409: "Another commit is in progress. Please try again.",
    412: "A commit has happened since. Please refresh and try again.",
    429: "Too many requests. Please slow down.",
}


@dataclass(frozen=True)
class FilePart:
    """Bytes of a file on disk, to be sent as a body."""

    path: Path
    start: int
    length: int


@dataclass
class Answer:
    """What the Hub says: a status, headers, and a body in memory or on disk."""

    status: int
    body: bytes | FilePart = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Size of the body in bytes."""
        return self.body.length if isinstance(self.body, FilePart) else len(self.body)


def json_answer(document: object, *, status: int = 200, **headers: str) -> Answer:
    """An answer whose body is JSON; `X_Name` gives the header `X-Name`."""
    body = json.dumps(document, ensure_ascii=False).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"Content-Type": "application/json; charset=utf-8", **named})


@dataclass
class Upload:
    """A body that went to disk as it came."""

    path: Path
    sha256: str
    size: int


@dataclass
class Request:
    """A request that was read to its end. `path` is still quoted; `upload` is a body on disk."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    upload: Upload | None


class ClientGone(ConnectionError):
    """The client closed the connection, or died, in the middle of something."""


class HubHttp(ThreadingHTTPServer):
    """The listening socket, its connections, and what they share."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        *,
        answer: Callable[[Request], Answer],
        control: Callable[[Request], Answer],
        faults: FaultBook,
        ledger: Ledger,
        step_of: Callable[[str, str], str],
        new_upload_path: Callable[[], Path],
        throttle_bytes_per_s: float | None = None,
    ) -> None:
        self.answer = answer
        self.control = control
        self.step_of = step_of
        self.new_upload_path = new_upload_path
        self.throttle_bytes_per_s = throttle_bytes_per_s
        self.faults = faults
        self.ledger = ledger
        self.bugs: list[str] = []
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(address, HubHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, and remember both."""
        target = self.process_request_thread
        thread = threading.Thread(target=target, args=(request, client_address), daemon=True)
        self._connections[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and forget it."""
        super().shutdown_request(request)
        self._connections.pop(request, None)

    def hang_up(self) -> None:
        """Close every connection and wait for its thread."""
        self.faults.close()
        for connection, thread in list(self._connections.items()):
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(_STOP_WAIT_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep a bug of ours for the end of the test; a client that left is nothing to talk about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            self.bugs.append(traceback.format_exc())


class HubHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HubHttp
    _due_s: float
    """When the rate allows the next bytes; on the clock of time.monotonic."""

    def respond(self) -> None:
        """Serve one request, faults included."""
        self._due_s = time.monotonic()
        step = self.server.step_of(self.command, self.path)
        if step == "control":
            self._send(self.server.control(self._read_request(to_disk=False)), None)
            return
        seen = Seen(step=step, method=self.command, path=self.path, range=self.headers.get("Range"))
        self.server.ledger.arrive(seen)
        try:
            self._serve(seen)
        except ConnectionError:
            self.close_connection = True
        finally:
            if not seen.done:
                self.server.ledger.settle(seen, seen.status)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = respond  # noqa: N815 - the base class calls them so

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the ledger knows."""

    # -- what to say ------------------------------------------------------------------------------------

    def _serve(self, seen: Seen) -> None:
        rule = self.server.faults.take(seen.step, seen.method, seen.path, body=False)
        seen.fault = rule.action if rule is not None else None
        if rule is not None and rule.action == "kill" and rule.when == "before":
            self.server.faults.kill_client(rule)
            raise ClientGone
        request = self._read_request(to_disk=seen.step == "lfs_put")
        try:
            self._reply(rule, request, seen)
        finally:
            if request.upload is not None:
                request.upload.path.unlink(missing_ok=True)  # there still where it was refused

    def _reply(self, rule: Rule | None, request: Request, seen: Seen) -> None:
        """Answer the request, with the fault around it or instead of it."""
        if rule is not None and rule.action == "status_late":
            self._reply_now_apply_later(rule, request, seen)
            return
        answer = self._strike(rule, request) if rule is not None else self.server.answer(request)
        self.server.ledger.settle(seen, answer.status if answer is not None else None)
        if answer is None:
            raise ClientGone
        self._send(answer, seen)

    def _reply_now_apply_later(self, rule: Rule, request: Request, seen: Seen) -> None:
        seen.status = rule.status
        with contextlib.suppress(OSError):
            self._send(_failure(rule, Connection="close"), seen)
            self.connection.shutdown(socket.SHUT_WR)
        if self.server.faults.hold(rule):
            self.server.answer(request)

    def _strike(self, rule: Rule, request: Request) -> Answer | None:
        """The answer under a fault; None to close the connection without one."""
        faults, answer = self.server.faults, self.server.answer
        match rule.action:
            case "lost_before":
                return None
            case "status":
                return _failure(rule)
            case "stall":
                waits = faults.hold(rule) and not self._client_is_gone()
                return answer(request) if waits else None
            case "late":
                return answer(request) if faults.hold(rule) else None
            case "leaves_out":
                return answer(_without(request, rule.leaves_out))
        answer(request)
        if rule.action == "kill":
            faults.kill_client(rule)
        return _failure(rule) if rule.action == "status_applied" else None

    def _client_is_gone(self) -> bool:
        try:
            waiting: bytes = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return not waiting
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    # -- reading ----------------------------------------------------------------------------------------

    def _read_request(self, *, to_disk: bool) -> Request:
        url = urlsplit(self.path)
        upload = self._receive_upload() if to_disk else None
        return Request(
            method=self.command,
            path=url.path,
            query=parse_qs(url.query),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=b"" if to_disk else b"".join(self._body_chunks()),
            upload=upload,
        )

    def _receive_upload(self) -> Upload:
        path, digest, size = self.server.new_upload_path(), hashlib.sha256(), 0
        try:
            with path.open("wb") as file:
                for chunk in self._body_chunks():
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
        except ConnectionError:
            path.unlink()
            raise
        return Upload(path, digest.hexdigest(), size)

    def _body_chunks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self._read_exactly(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline() or self._gone(), 16):
            yield from self._read_exactly(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers

    def _read_exactly(self, size: int) -> Iterator[bytes]:
        while size > 0:
            chunk = self.rfile.read1(min(size, _CHUNK_BYTES)) or self._gone()
            size -= len(chunk)
            yield chunk
            self._pace(len(chunk))

    def _gone(self) -> bytes:
        raise ClientGone

    def _pace(self, size: int) -> None:
        """Hold the connection to its rate: by the clock, so that the time that sending takes is not added to it."""
        if self.server.throttle_bytes_per_s is None:
            return
        now = time.monotonic()
        self._due_s = max(self._due_s, now - _CATCH_UP_S) + size / self.server.throttle_bytes_per_s
        time.sleep(max(self._due_s - now, 0))

    # -- sending ----------------------------------------------------------------------------------------

    def _send(self, answer: Answer, seen: Seen | None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value.encode("latin-1", "replace").decode("latin-1"))
        self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        if self.command == "HEAD" or answer.length == 0:
            return
        take = self.server.faults.take
        rule = take(seen.step, seen.method, seen.path, body=True) if seen is not None else None
        if seen is None or rule is None:
            self._write(answer, 0, answer.length, seen)
            return
        seen.fault, half = rule.action, answer.length // 2
        self._write(answer, 0, half, seen)
        self._break_off(rule)
        self._write(answer, half, answer.length, seen)

    def _write(self, answer: Answer, start: int, end: int, seen: Seen | None) -> None:
        for chunk in _chunks(answer.body, start, end):
            self._pace(len(chunk))
            if seen is not None:
                seen.body_bytes_sent += len(chunk)  # first, so that whoever has the bytes finds them counted
            self.wfile.write(chunk)

    def _break_off(self, rule: Rule) -> None:
        """Stop in the middle of a body; returns only where the rest is to follow."""
        if rule.action == "stall_body":
            self.server.faults.hold(rule)
            return
        if rule.action == "reset_body":
            # Lingering for no time at all makes the kernel reset the connection instead of ending it.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()
        raise ClientGone


def _without(request: Request, paths: str) -> Request:
    """A commit less the lines about paths that match."""
    values = {line: json.loads(line)["value"] for line in request.body.splitlines()}
    left = [line for line, value in values.items() if not ("path" in value and re.search(paths, value["path"]))]
    return replace(request, body=b"\n".join(left))


def _failure(rule: Rule, **headers: str) -> Answer:
    message = rule.message or _MESSAGES.get(rule.status, "Internal Error - We're working hard to fix this.")
    answer = json_answer({"error": message}, status=rule.status, X_Error_Message=message, **headers)
    if rule.body is not None:
        answer.body = rule.body.encode()
    if rule.retry_after is not None:
        answer.headers["Retry-After"] = str(rule.retry_after)
    return answer


def _chunks(body: bytes | FilePart, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to `end` of a body."""
    if isinstance(body, bytes):
        yield body[start:end]
        return
    with body.path.open("rb") as file:
        file.seek(body.start + start)
        left = end - start
        while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
