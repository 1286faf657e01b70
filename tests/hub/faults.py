"""Faults on demand: rules that say which request goes wrong, and how.

| action          | what the client sees                         | applied?                                  |
|-----------------|----------------------------------------------|-------------------------------------------|
| `lost_before`   | the connection closes without an answer      | no                                        |
| `lost_after`    | the connection closes without an answer      | yes                                       |
| `status`        | the rule's status (409, 412, 429, 5xx ...)   | no                                        |
| `status_applied`| the rule's status                            | yes                                       |
| `leaves_out`    | a yes                                        | but for the paths that match `leaves_out` |
| `status_late`   | the rule's status                            | after `seconds`, or when released         |
| `stall`         | nothing for `seconds`, or until released     | only if the client still waits by then    |
| `late`          | the same                                     | yes, though the client may have gone      |
| `kill`          | its own death (SIGKILL)                      | as `when` says: killed `before` or `after`|
| `cut_body`      | half the answer's body, then the end         | yes                                       |
| `reset_body`    | half the answer's body, then a reset         | yes                                       |
| `stall_body`    | half the body, a stall, then the rest        | yes                                       |

The status is 500 unless the rule says otherwise; `body` takes the place of its JSON.
The three `_body` faults wait for a matching answer that has
a body (a redirect has none).
"""

import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

STEPS = frozenset(
    {
        *("whoami", "create_repo", "delete_repo", "settings", "repo_info", "auth_check", "validate_yaml"),
        *("preupload", "lfs_batch", "lfs_put", "lfs_verify", "commit", "tag", "delete_tag"),
        *("tree", "paths_info", "refs", "commits", "resolve", "cdn", "unknown"),
        *("xet_token", "xet_xorb", "xet_shard"),
    }
)
"""The Hub's requests by name. `resolve` is HEAD or GET of a file; large ones are redirected to `cdn`."""

BODY_ACTIONS = frozenset({"cut_body", "reset_body", "stall_body"})
ACTIONS = BODY_ACTIONS | {"lost_before", "lost_after", "status", "status_applied", "status_late"}
ACTIONS |= {"stall", "late", "kill", "leaves_out"}

_PID_WAIT_S = 30.0


@dataclass
class Rule:
    """One fault. It strikes requests that match all of `step`, `method` and `path` (a regex, searched).

    The first `skip` matches are let through, the next `times` are struck (None: all). `step` may name
    several, joined by `|`. A `kill` without a `pid` strikes the pid given to `FaultBook.set_client_pid`.
    """

    action: str
    step: str | None = None
    method: str | None = None
    path: str | None = None
    times: int | None = 1
    skip: int = 0
    status: int = 500
    message: str | None = None
    body: str | None = None
    leaves_out: str = ""
    retry_after: int | None = None
    seconds: float | None = None
    pid: int | None = None
    when: str = "before"
    struck: int = 0

    def __post_init__(self) -> None:
        """Refuse what would silently never strike."""
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}; there are {sorted(ACTIONS)}")
        if self.when not in ("before", "after"):
            raise ValueError(f"a kill is 'before' or 'after', not {self.when!r}")
        if unknown := set(self.step.split("|") if self.step else ()) - STEPS:
            raise ValueError(f"unknown steps {sorted(unknown)}; there are {sorted(STEPS)}")

    def matches(self, step: str, method: str, path: str) -> bool:
        """Whether the rule is about this request, counts aside."""
        return (
            (self.step is None or step in self.step.split("|"))
            and (self.method is None or method == self.method.upper())
            and (self.path is None or re.search(self.path, path) is not None)
        )


class FaultBook:
    """The rules in force, in the order they were added, and the requests that they hold back."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rules: list[Rule] = []
        self._held = 0
        self._releases = 0
        self._closed = False
        self._client_pid: int | None = None

    def add(self, rule: Rule) -> Rule:
        """Put a rule in force; its `struck` counts from now on."""
        with self._changed:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Drop all rules. Requests that are held stay held."""
        with self._changed:
            self._rules.clear()

    def as_dicts(self) -> list[dict[str, Any]]:
        """All rules with their counts, for the control endpoint."""
        with self._changed:
            return [asdict(rule) for rule in self._rules]

    def take(self, step: str, method: str, path: str, *, body: bool) -> Rule | None:
        """The rule that strikes this request now, counted; None for no fault.

        Asked twice for a request: on arrival, and (`body`) when an answer with a body is ready.
        """
        with self._changed:
            for rule in self._rules:
                if (rule.action in BODY_ACTIONS) != body or not rule.matches(step, method, path):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                elif rule.times is None or rule.times > 0:
                    rule.times = None if rule.times is None else rule.times - 1
                    rule.struck += 1
                    return rule
        return None

    def hold(self, rule: Rule) -> bool:
        """Hold the calling request for the rule's seconds, or until the next release.

        False when the server closes: then the request must not be applied any more.
        """
        with self._changed:
            seen = self._releases
            self._held += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._releases != seen, timeout=rule.seconds)
            self._held -= 1
            self._changed.notify_all()
            return not self._closed

    def release(self) -> None:
        """Let every held request go on."""
        with self._changed:
            self._releases += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let every held request go on, now and from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_until_held(self, count: int = 1, *, timeout_s: float = 30.0) -> bool:
        """Wait until `count` requests are held back at once; False when that did not happen in time."""
        return self._wait(lambda: self._held >= count, timeout_s)

    def set_client_pid(self, pid: int | None) -> None:
        """Name the process that `kill` rules without a pid strike; None: not known yet."""
        with self._changed:
            self._client_pid = pid
            self._changed.notify_all()

    def kill_client(self, rule: Rule) -> None:
        """SIGKILL the rule's process, or the client's once its pid is known."""
        if rule.pid is None and not self._wait(lambda: self._client_pid is not None, _PID_WAIT_S):
            raise RuntimeError("a kill rule struck, but nobody named the client's pid")
        pid = rule.pid if rule.pid is not None else self._client_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def _wait(self, happened: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(happened, timeout=timeout_s)
