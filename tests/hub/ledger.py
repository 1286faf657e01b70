"""What the server saw: every request in order of arrival, with what became of it."""

import threading
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Seen:
    """One request. `status` is None where no answer was sent; `done` comes before the client sees it."""

    step: str
    method: str
    path: str
    range: str | None = None
    fault: str | None = None
    status: int | None = None
    body_bytes_sent: int = 0
    done: bool = False


class Ledger:
    """The requests of a server, for tests to count. Safe for threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Seen] = []

    def arrive(self, seen: Seen) -> Seen:
        """Write down a request as it arrives."""
        with self._changed:
            self._requests.append(seen)
        return seen

    def settle(self, seen: Seen, status: int | None) -> None:
        """Write down what the request gets, before it gets it (None: nothing)."""
        with self._changed:
            seen.status = status
            seen.done = True
            self._changed.notify_all()

    def requests(self) -> list[Seen]:
        """All requests so far, in order of arrival."""
        with self._changed:
            return list(self._requests)

    def as_dicts(self) -> list[dict[str, Any]]:
        """All requests so far, for the control endpoint."""
        return [asdict(seen) for seen in self.requests()]

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._changed:
            self._requests.clear()

    def wait_until_settled(self, *, timeout_s: float = 30.0) -> bool:
        """Wait until every request so far is done; False when that did not happen in time."""
        with self._changed:
            return self._changed.wait_for(lambda: all(seen.done for seen in self._requests), timeout=timeout_s)

    def wait_for(self, step: str, count: int = 1, *, timeout_s: float = 30.0) -> bool:
        """Wait until `count` requests of a step are done; False when that did not happen in time."""

        def enough() -> bool:
            return sum(seen.step == step and seen.done for seen in self._requests) >= count

        with self._changed:
            return self._changed.wait_for(enough, timeout=timeout_s)
