"""An Apify for the tests: real HTTP on loopback, the part of its API (v2) that a collector uses; no internet.

The real `apify-client` talks to it when its base URL points here. It counts what was bought, and fails on demand:

    with ApifyServer() as apify:
        apify.add_actor("maker/tweets", lambda run_input: [...])         # its items, made from the run's input
        api = ApifyClient("apify_test_token", api_url=apify.url)
        apify.fault("lost_after", step="start")

| action       | what the client sees                            | applied?             |
|--------------|-------------------------------------------------|----------------------|
| `lost_before`| the connection closes without an answer         | no                   |
| `lost_after` | the connection closes without an answer         | yes                  |
| `status`     | the rule's status (429, 5xx, ...)               | no                   |
| `status_late`| the rule's status                               | yes                  |
| `stall`      | nothing, until the client gives up              | yes                  |
| `half_body`  | half the answer's body, then the end            | yes                  |
| `no_json`    | 200 with a page of HTML                         | yes                  |
| `kill`       | its own death (SIGKILL of `pid`)                | as `applied` says    |

Steps: `start`, `runs` (a listing), `run`, `input` (a record of a key-value store), `items`, `limits` (of the account).
"""

import gzip
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.apify_answers import Actor, Answers, Run, account_limits, as_listed, as_run, error_answer, json_answer

TOKEN = "apify_test_token"  # noqa: S105 - it opens nothing but this server


@dataclass
class Rule:
    """One fault: it lets `skip` requests of a step (`*`: of any) through, then strikes `times` of them."""

    action: str
    step: str
    times: int = 1
    skip: int = 0
    status: int = 500
    kind: str = "internal-server-error"
    message: str = "asked for by the test"
    applied: bool = False
    pid: int = 0


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    step: str
    path: str
    query: dict[str, str]


class ApifyServer:
    """An Apify in threads of this process, with one user. `now` is its clock."""

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self.actors: dict[str, Actor] = {}
        self.runs: dict[str, Run] = {}
        """All runs ever started: each was paid for."""
        self.requests: list[Seen] = []
        self.rules: list[Rule] = []
        self.listing_lag = 0
        """How many listings do not show a new run."""
        self.items_lag = 0
        self.keeps_user_agents = True
        self.retention_days: int | None = 14
        """What it says of the account; None: nothing."""
        self.tells_of_more = 0
        """So many items more than there are, each page tells of."""
        self.page_limit = 250_000
        """At most so many items an answer, whatever is asked for."""
        self.now = now or (lambda: datetime.now(UTC))
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._bugs: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if self._bugs:
            raise AssertionError("the tests' Apify has a bug:\n" + "\n".join(self._bugs))

    # -- what tests do with it --------------------------------------------------------------------

    def add_actor(self, name: str, answers: Answers, **fields: Any) -> Actor:
        """An actor that may be run; `answers` makes a run's items from its input."""
        actor = self.actors[name] = Actor(answers, **fields)
        return actor

    def fault(self, action: str, step: str, **fields: Any) -> Rule:
        """Let a request go wrong."""
        rule = Rule(action, step, **fields)
        with self._lock:
            self.rules.append(rule)
        return rule

    def forget(self) -> None:
        """Forget all runs, requests and faults, as if it were new."""
        with self._lock:
            for known in (self.runs, self.requests, self.rules):
                known.clear()
            self._numbers = count(1)

    def release(self) -> None:
        """Let stalled requests go on."""
        self._released.set()

    @property
    def bought(self) -> list[dict[str, Any]]:
        """The input of each run that was paid for, in order."""
        return [run.input for run in self.runs.values()]

    def steps(self) -> list[str]:
        """The requests so far, by step."""
        return [seen.step for seen in self.requests]

    # -- answering --------------------------------------------------------------------------------

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the request's handler below
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 2**16  # headers and body in one packet: two would wait for each other

            def do_GET(self) -> None:  # noqa: N802
                server._answer(self, b"")

            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server._answer(self, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        return Handler

    def _answer(self, http: BaseHTTPRequestHandler, body: bytes) -> None:
        try:
            url = urlsplit(http.path)
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            step, call = self._route(http.command, unquote(url.path), query)
            with self._lock:
                self.requests.append(Seen(step, url.path, query))
                rule = self._due(step)
            if http.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._send(http, *error_answer(401, "user-or-token-not-found", "The token is not valid"))
            elif rule is None:
                self._send(http, *self._call(call, http, body))
            else:
                self._go_wrong(rule, http, lambda: self._call(call, http, body))
        except (BrokenPipeError, ConnectionResetError):
            http.close_connection = True
        except Exception as error:  # noqa: BLE001 - raised in the test's own thread when the server ends
            self._bugs.append(f"{http.command} {http.path}: {error!r}")
            http.close_connection = True

    def _call(self, call: Callable[..., Any], http: BaseHTTPRequestHandler, body: bytes) -> Any:
        with self._lock:
            return call(body, http.headers.get("User-Agent"))

    def _due(self, step: str) -> Rule | None:
        for rule in self.rules:
            if rule.step not in ("*", step) or rule.times <= 0:
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            rule.times -= 1
            return rule
        return None

    def _go_wrong(self, rule: Rule, http: BaseHTTPRequestHandler, apply: Callable[[], Any]) -> None:
        http.close_connection = True
        if rule.action == "lost_before":
            return
        if rule.action == "status":
            self._send(http, *error_answer(rule.status, rule.kind, rule.message))
            return
        if rule.action == "kill":
            if rule.applied:
                apply()
            os.kill(rule.pid, signal.SIGKILL)
            return
        status, headers, content = apply()
        if rule.action == "status_late":
            self._send(http, *error_answer(rule.status, rule.kind, rule.message))
        elif rule.action == "stall":
            self._released.wait(30)
        elif rule.action == "half_body":
            self._send(http, status, headers, content, content[: len(content) // 2])
        elif rule.action == "no_json":
            self._send(http, 200, {"Content-Type": "text/html"}, b"<html>please log in</html>")
        elif rule.action != "lost_after":
            raise ValueError(rule.action)

    def _send(
        self,
        http: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        content: bytes,
        sent: bytes | None = None,
    ) -> None:
        http.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(content if sent is None else sent)
        http.wfile.flush()

    def _route(self, method: str, path: str, query: dict[str, str]) -> tuple[str, Callable[[bytes, str | None], Any]]:
        def matches(verb: str, pattern: str) -> re.Match[str] | None:
            return re.fullmatch(pattern, path) if method == verb else None

        if match := matches("POST", "/v2/actors/([^/]+)/runs"):
            actor = match[1].replace("~", "/")
            return "start", lambda body, agent: self._start(actor, query, body, agent)
        if match := matches("GET", "/v2/actors/([^/]+)/runs"):
            actor = match[1].replace("~", "/")
            return "runs", lambda body, agent: self._list_runs(actor, query)
        if match := matches("GET", "/v2/actor-runs/([^/]+)"):
            run_id = match[1]
            return "run", lambda body, agent: self._look_at(run_id)
        if match := matches("GET", "/v2/key-value-stores/store-([^/]+)/records/INPUT"):
            run_id = match[1]
            return "input", lambda body, agent: self._input(run_id)
        if match := matches("GET", "/v2/datasets/items-([^/]+)/items"):
            run_id = match[1]
            return "items", lambda body, agent: self._items(run_id, query)
        if matches("GET", "/v2/users/me/limits"):
            return "limits", lambda body, agent: self._limits()
        return "unknown", lambda body, agent: error_answer(404, "page-not-found", f"no {method} {path} here")

    def _limits(self) -> Any:
        if self.retention_days is None:
            return error_answer(403, "insufficient-permissions", "Insufficient permissions")
        return json_answer({"data": account_limits(self.retention_days)})

    # -- the API ----------------------------------------------------------------------------------

    def _start(self, name: str, query: dict[str, str], body: bytes, agent: str | None) -> Any:
        actor = self.actors.get(name)
        if actor is None:
            return error_answer(404, "record-not-found", "Actor was not found")
        run_input = json.loads(body)
        items = actor.answers(run_input)
        if actor.delivered is not None:
            items = items[: actor.delivered]
        if "maxItems" in query:
            items = items[: int(query["maxItems"])]
        if "maxTotalChargeUsd" in query:
            items = items[: int(float(query["maxTotalChargeUsd"]) / actor.usd_per_item + 1e-9)]
        run = Run(
            id=f"run{next(self._numbers)}",
            actor=name,
            input={**actor.defaults, **run_input},
            items=items,
            statuses=list(actor.statuses),
            cost_usd=round(actor.usd_per_item * len(items), 6),
            started_at=self.now(),
            user_agent=agent if self.keeps_user_agents else None,
            options=query,
            hidden_for=self.listing_lag,
            items_hidden_for=self.items_lag,
            costs_told=list(actor.costs_told),
        )
        self.runs[run.id] = run
        return json_answer({"data": as_run(run)}, 201)

    def _list_runs(self, actor: str, query: dict[str, str]) -> Any:
        after = datetime.fromisoformat(query["startedAfter"]) if "startedAfter" in query else None
        found = []
        for run in self.runs.values():
            if run.hidden_for:
                run.hidden_for -= 1
            elif run.actor == actor and (after is None or run.started_at >= after):
                found.append(as_listed(run))
        if query.get("desc") == "true":
            found.reverse()
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 1000))
        page = found[offset : offset + limit]
        pages = {"total": len(found), "offset": offset, "limit": limit, "desc": True, "count": len(page)}
        return json_answer({"data": {**pages, "items": page}})

    def _look_at(self, run_id: str) -> Any:
        run = self.runs.get(run_id)
        if run is None:
            return error_answer(404, "record-not-found", "Actor run was not found")
        if len(run.statuses) > 1:
            run.statuses.pop(0)
        return json_answer({"data": as_run(run)})

    def _input(self, run_id: str) -> Any:
        run = self.runs.get(run_id)
        if run is None or run.is_deleted:
            return error_answer(404, "record-not-found", "Record was not found")
        return json_answer(run.input)

    def _items(self, run_id: str, query: dict[str, str]) -> Any:
        run = self.runs.get(run_id)
        if run is None or run.is_deleted:
            return error_answer(404, "record-not-found", "Dataset was not found")
        items = run.items
        if run.items_hidden_for:
            run.items_hidden_for -= 1
            items = []
        offset, limit = int(query.get("offset", 0)), min(int(query.get("limit", 10**9)), self.page_limit)
        page = items[offset : offset + limit]
        numbers = {"total": len(items) + self.tells_of_more, "offset": offset, "limit": limit, "count": len(page)}
        headers = {f"x-apify-pagination-{name}": str(number) for name, number in numbers.items()}
        status, more, content = json_answer(page)
        return status, {**more, **headers, "x-apify-pagination-desc": "false"}, content
