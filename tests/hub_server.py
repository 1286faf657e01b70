"""A Hugging Face Hub for the tests: real HTTP on loopback, datasets only, no internet.

The real clients (`huggingface_hub`, `datasets`) talk to it when their endpoint points here. It keeps repos in
a folder, so that commits outlive the process; it fails on demand (`tests.hub.faults`); it writes down every
request (`tests.hub.ledger`).

    with HubServer(tmp_path / "hub") as hub:                                       # in this process
        api = HfApi(endpoint=hub.endpoint, token="hf_test_token")
        hub.fault("lost_after", step="commit")

    python -m tests.hub_server --root DIR --port 8080 --seed me/source=FOLDER      # by itself

`tests.hub.process.HubProcess` starts the second form and steers it from a test. Clients send large files over LFS, as
`HF_HUB_DISABLE_XET=1` says for all tests, or over Xet (`tests.hub.xet`), with `tests.hub.client.xet_settings`.
"""

import argparse
import signal
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.hub import control, routes
from tests.hub.call import Place
from tests.hub.faults import FaultBook, Rule
from tests.hub.ledger import Ledger, Seen
from tests.hub.look import Inspected
from tests.hub.store import Store
from tests.hub.wire import HubHttp

TOKEN = "hf_test_token"  # noqa: S105 - it opens nothing but this server
USER = "me"


class HubServer(Inspected):
    """A Hub in threads of this process, serving the repos in the folder `root`.

    `tokens` maps each token to its user. `page_size` is the entries of a page of a listing.
    `throttle_bytes_per_s` slows every connection's bodies down, in both directions.
    On leaving, a bug of the server that a request ran into is raised as `AssertionError`.
    """

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Mapping[str, str] | None = None,
        page_size: int = 1000,
        throttle_bytes_per_s: float | None = None,
    ) -> None:
        self.store = Store(root)
        self.store.sweep()
        self.faults = FaultBook()
        self.ledger = Ledger()
        self._place = Place(self.store, dict(tokens or {TOKEN: USER}), page_size)
        self._http = HubHttp(
            (host, port),
            answer=partial(routes.answer, self._place),
            control=partial(control.control, self.faults, self.ledger),
            step_of=routes.step_of,
            new_upload_path=self.store.incoming_path,
            faults=self.faults,
            ledger=self.ledger,
            throttle_bytes_per_s=throttle_bytes_per_s,
        )
        self.port: int = self._http.server_address[1]
        self.endpoint = self._place.endpoint = f"http://{host}:{self.port}"
        # Large files live under another name, so that clients see a redirect to a foreign host.
        self._place.cdn = f"http://localhost:{self.port}" if host == "127.0.0.1" else self.endpoint
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def throttle(self, bytes_per_s: float | None) -> None:
        """From now on slow every connection's bodies down to this; None: no more."""
        self._http.throttle_bytes_per_s = bytes_per_s

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of every request and connection, and stop."""
        self._http.shutdown()
        self._http.hang_up()
        self._http.server_close()
        self._thread.join()
        if self._http.bugs:
            raise AssertionError("the tests' Hub has a bug:\n" + "\n".join(self._http.bugs))

    # -- its repos --------------------------------------------------------------------------------------

    def add_dataset(
        self,
        repo_id: str,
        folder: Path,
        *,
        private: bool = False,
        gated: bool = False,
        allowed: Sequence[str] = (),
        link: bool = False,
    ) -> str:
        """Make a dataset hold exactly the files of `folder`, in one commit; return the new head.

        Called again for the same repo, it makes its next revision. `allowed` are the users that a gated
        repo lets in besides its owner. `link` hard-links large files: quick, but never write to them again.
        """
        if self.store.settings(repo_id) is None:
            self.store.create(repo_id)
        self.store.change_settings(repo_id, private=private, gated=gated, allowed=tuple(allowed))
        return self.store.add_folder(repo_id, folder, link=link)

    def rename(self, repo_id: str, new: str) -> None:
        """Give a repo another name; the old one leads to it."""
        self.store.rename(repo_id, new)
        self._place.renamed[repo_id] = new

    # -- what goes wrong, and what was seen -------------------------------------------------------------

    def fault(self, action: str, **matching: Any) -> Rule:
        """Let a request go wrong: see `tests.hub.faults.Rule` for what `matching` may say."""
        return self.faults.add(Rule(action, **matching))

    def clear_faults(self) -> None:
        """Drop all rules."""
        self.faults.clear()

    def release(self) -> None:
        """Let held requests go on."""
        self.faults.release()

    def wait_until_held(self, count: int = 1, *, timeout_s: float = 30.0) -> bool:
        """Wait until so many requests are held; False when that did not happen in time."""
        return self.faults.wait_until_held(count, timeout_s=timeout_s)

    def wait_for(self, step: str, count: int = 1, *, timeout_s: float = 30.0) -> bool:
        """Wait until so many requests of a step are done; False when that did not happen in time."""
        return self.ledger.wait_for(step, count, timeout_s=timeout_s)

    def set_client_pid(self, pid: int) -> None:
        """Name the process that `kill` rules strike."""
        self.faults.set_client_pid(pid)

    @property
    def requests(self) -> list[Seen]:
        """Every request so far, in order of arrival."""
        return self.ledger.requests()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C, having printed the endpoint as the first line."""
    options = _parser().parse_args(arguments)
    # Blocked before any thread starts, so that every thread leaves these signals to `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = HubServer(
        options.root,
        port=options.port,
        tokens={options.token: options.user},
        page_size=options.page_size,
        throttle_bytes_per_s=options.throttle,
    )
    for seed in options.seed:
        repo_id, _, folder = seed.partition("=")
        server.add_dataset(repo_id, Path(folder), link=options.link)
    with server:
        print(server.endpoint, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.hub_server", description="A Hub for tests, on loopback.")
    parser.add_argument("--root", type=Path, required=True, help="folder that keeps the repos")
    parser.add_argument("--port", type=int, default=0, help="0: any free one (default)")
    parser.add_argument("--user", default=USER, help="who the token belongs to")
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--seed", action="append", default=[], metavar="OWNER/NAME=FOLDER")
    parser.add_argument("--link", action="store_true", help="hard-link the seeds' large files")
    parser.add_argument("--page-size", type=int, default=1000, help="entries of a page of a listing")
    parser.add_argument("--throttle", type=float, metavar="BYTES_PER_S", help="slow bodies down")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
