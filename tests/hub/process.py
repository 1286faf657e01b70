"""A Hub in a process of its own, steered through its control endpoint: for tests that kill it."""

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.hub.ledger import Seen
from tests.hub.look import Inspected
from tests.hub.store import Store

_PROJECT = Path(__file__).parents[2]
_TIMEOUT_S = 60.0


class HubProcess(Inspected):
    """`python -m tests.hub_server` over the folder `root`.

    `start` after `kill` or `stop` comes back on the same port with the same repos. What the server wrote to
    its standard error is in `{root}.log`. `store` reads the repos beside it.
    """

    def __init__(self, root: Path, *, seeds: Mapping[str, Path] | None = None, options: tuple[str, ...] = ()) -> None:
        self.root = root
        self.log = root.with_name(f"{root.name}.log")
        self.store = Store(root)
        self.port = 0
        self._seeds = dict(seeds or {})
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    @property
    def endpoint(self) -> str:
        """The address to point clients to."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, if it still runs."""
        self.stop()

    def start(self) -> None:
        """Run the server and wait until it listens. Seeds are added at the first start only."""
        seeds = [f"--seed={repo_id}={folder}" for repo_id, folder in self._seeds.items()]
        command = [sys.executable, "-m", "tests.hub_server", f"--root={self.root}", f"--port={self.port}"]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, *seeds, *self._options],
                cwd=_PROJECT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        endpoint = self._process.stdout.readline().strip()
        if not endpoint:
            self.stop()
            raise RuntimeError(f"the Hub did not start:\n{self.log.read_text()}")
        self.port = int(endpoint.rpartition(":")[2])
        self._seeds.clear()

    def stop(self) -> None:
        """End it in good order (SIGTERM)."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it at once (SIGKILL): no thread of it finishes anything."""
        self._end(subprocess.Popen.kill)

    def fault(self, action: str, **matching: Any) -> None:
        """Let a request go wrong: see `tests.hub.faults.Rule`."""
        self.order("POST", "faults", {"action": action, **matching})

    def clear_faults(self) -> None:
        """Drop all rules."""
        self.order("DELETE", "faults")

    @property
    def requests(self) -> list[Seen]:
        """Every request since it started, in order of arrival."""
        return [Seen(**fields) for fields in self.order("GET", "requests")]

    def release(self) -> None:
        """Let held requests go on."""
        self.order("POST", "release")

    def wait_until_held(self, count: int = 1, *, timeout_s: float = 30.0) -> bool:
        """Wait until so many requests are held; False when that did not happen in time."""
        return bool(self.order("POST", "held", {"count": count, "timeout_s": timeout_s})["happened"])

    def wait_for(self, step: str, count: int = 1, *, timeout_s: float = 30.0) -> bool:
        """Wait until so many requests of a step are done; False when that did not happen in time."""
        order = {"step": step, "count": count, "timeout_s": timeout_s}
        return bool(self.order("POST", "done", order)["happened"])

    def settle(self, *, timeout_s: float = 30.0) -> None:
        """Let held requests go on, and wait until every request so far is done with."""
        self.release()
        if not self.order("POST", "settled", {"timeout_s": timeout_s})["happened"]:
            raise TimeoutError("the Hub is still busy with a request")

    def set_client_pid(self, pid: int | None) -> None:
        """Name the process that `kill` rules strike; None: not known yet."""
        self.order("POST", "client", {"pid": pid})

    def order(self, method: str, order: str, document: object = None) -> Any:
        """Send one order to the control endpoint and return its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, f"/_control/{order}", body=body)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(said["error"])
        return said

    def _end(self, end: Any) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdout is not None
        end(process)
        process.wait(_TIMEOUT_S)
        process.stdout.close()
