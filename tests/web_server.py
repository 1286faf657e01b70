"""A web server on this machine: files, and all that is told instead of them."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Handler = BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


@dataclass
class Asked:
    """A request."""

    path: str
    headers: Mapping[str, str]


@dataclass
class WebServer:
    """Answers for each path; where there are several, one after the other, the last one for ever."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(handler) -> None:  # noqa: N805 - `self` is the server
                self.asked.append(Asked(handler.path, dict(handler.headers.items())))
                answers = self.answers.get(handler.path.partition("?")[0], [status(404)])
                (answers.pop(0) if len(answers) > 1 else answers[0])(handler)

            def log_message(self, *_: object) -> None:
                """Nothing is told."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"


def file(content: bytes, ranges: bool = True, kind: str = "application/octet-stream", **headers: str) -> Answer:
    """A file, or the part of it that is asked for."""

    def answer(handler: Handler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        part = content
        if asked and ranges:
            part = content[int(asked[1]) : int(asked[2]) + 1]
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(part)))
        handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        _send(handler, part)

    return answer


def status(code: int, text: str = "", **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
            if value:  # "": left out
                handler.send_header(name, value)
        handler.end_headers()
        _send(handler, text.encode())

    return answer


def redirect(to: str, code: int = 302) -> Answer:
    return status(code, Location=to)


def cut_short(content: bytes, at: int) -> Answer:
    """A file whose connection breaks after so many of the bytes that were asked for."""
    whole = file(content)

    def answer(handler: Handler) -> None:
        sent, handler.wfile = handler.wfile, _Cut(handler.wfile, at)  # type: ignore[assignment]
        whole(handler)
        handler.wfile = sent
        handler.close_connection = True

    return answer


class _Cut:
    """What is written, the headers and the first bytes behind them."""

    def __init__(self, out: object, at: int) -> None:
        self._out, self._left, self._headers = out, at, True

    def write(self, content: bytes) -> int:
        if self._headers:
            self._headers = False
            return int(self._out.write(content))  # type: ignore[attr-defined]
        self._out.write(content[: self._left])  # type: ignore[attr-defined]
        self._left -= min(self._left, len(content))
        return len(content)

    def flush(self) -> None:
        """Nothing is held back."""


def _send(handler: Handler, content: bytes) -> None:
    try:
        handler.wfile.write(content)
    except (BrokenPipeError, ConnectionResetError):  # who asked has enough
        handler.close_connection = True
