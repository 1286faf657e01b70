"""A gateway between us and the Hub that answers for it: 200, with a page for people in place of the Hub's JSON."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.dataset.hub_targets import assert_goes_on, assert_landed_once, begun
from tests.hub_server import HubServer
from tests.support import change

PAGE = b"<!DOCTYPE html><html><body><h1>We will be right back</h1></body></html>"


class Gateway(ThreadingHTTPServer):
    """Hands requests on to a Hub. The next commit, once `strike` says so, is answered with a page."""

    daemon_threads = True

    def __init__(self, hub: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = urlsplit(hub).netloc
        self.strike = ""
        """`applied`: the Hub had the commit all the same. `dropped`: it never came there."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        struck = ""
        if "/commit/" in self.path:
            struck, self.server.strike = self.server.strike, ""
        status, headers, content = (200, [], b"") if struck == "dropped" else self._asked(body)
        if struck:
            headers, content = [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))], PAGE
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the Hub answers."""
        connection = http.client.HTTPConnection(self.server.hub, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: pytest shows what went wrong."""


for _method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler._hand_on)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def gateway(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """The gateway, where `HF_ENDPOINT` points."""
    with Gateway(hub.endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("strike", ["applied", "dropped"])
def test_page_of_a_gateway_is_no_clear_answer(hub: HubServer, gateway: Gateway, tmp_path: Path, strike: str) -> None:
    """Neither a yes nor a crash: look; what landed is not sent again, what did not is."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    gateway.strike = strike

    landed = target.commit(planned, snapshot)

    assert gateway.strike == ""
    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)
