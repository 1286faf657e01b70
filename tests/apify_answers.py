"""What the tests' Apify knows of actors and runs, and how it spells its answers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

ENDED = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED-OUT")

Item = Any
Answers = Callable[[dict[str, Any]], list[Item]]


@dataclass
class Actor:
    """What the runs of an actor give and cost."""

    answers: Answers
    usd_per_item: float = 0.02
    statuses: Sequence[str] = ("READY", "RUNNING", "SUCCEEDED")
    """What each look at a run shows; the last one stays."""
    delivered: int | None = None
    """How many items a run comes to before it ends; None: all."""
    costs_told: Sequence[float] = ()
    """What each look at a run tells of its cost, the true one afterwards; else half of it until the run has ended."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """What the platform adds to the input of each run."""


@dataclass
class Run:
    """A run that somebody pays for."""

    id: str
    actor: str
    input: dict[str, Any]
    items: list[Item]
    statuses: list[str]
    cost_usd: float
    started_at: datetime
    user_agent: str | None
    options: dict[str, str]
    is_deleted: bool = False
    """Its items and its input are gone: Apify keeps them for a while only."""
    hidden_for: int = 0
    """So many listings do not show it yet."""
    items_hidden_for: int = 0
    """So many looks at its items show none yet."""
    costs_told: list[float] = field(default_factory=list)

    def tells_usd(self) -> float:
        """Its cost, as this look at it tells."""
        if self.costs_told:
            return self.costs_told.pop(0)
        return self.cost_usd if self.statuses[0] in ENDED else round(self.cost_usd / 2, 6)


def account_limits(retention_days: int) -> dict[str, Any]:
    """What the account may do; only how long it keeps things matters here."""
    limits = (
        *("maxMonthlyUsageUsd", "maxMonthlyActorComputeUnits", "maxMonthlyExternalDataTransferGbytes"),
        *("maxMonthlyProxySerps", "maxMonthlyResidentialProxyGbytes", "maxActorMemoryGbytes", "maxActorCount"),
        *("maxActorTaskCount", "maxConcurrentActorJobs", "maxTeamAccountSeatCount"),
    )
    current = (
        *("monthlyUsageUsd", "monthlyActorComputeUnits", "monthlyExternalDataTransferGbytes", "monthlyProxySerps"),
        *("monthlyResidentialProxyGbytes", "actorMemoryGbytes", "actorCount", "actorTaskCount"),
        *("activeActorJobCount", "teamAccountSeatCount"),
    )
    return {
        "monthlyUsageCycle": {"startAt": "2026-01-01T00:00:00.000Z", "endAt": "2026-01-31T23:59:59.999Z"},
        "limits": {**dict.fromkeys(limits, 5), "dataRetentionDays": retention_days},
        "current": dict.fromkeys(current, 1),
    }


def as_listed(run: Run) -> dict[str, Any]:
    """A run in a listing."""
    status = run.statuses[0]
    has_ended = status in ENDED
    return {
        "id": run.id,
        "actId": run.actor.replace("/", "~"),
        "userId": "user1",
        "startedAt": spelled(run.started_at),
        "finishedAt": spelled(run.started_at + timedelta(seconds=90)) if has_ended else None,
        "status": status,
        "meta": {"origin": "API", "userAgent": run.user_agent},
        "buildId": "build1",
        "buildNumber": "0.1.2",
        "usageTotalUsd": run.tells_usd(),
        "defaultKeyValueStoreId": f"store-{run.id}",
        "defaultDatasetId": f"items-{run.id}",
        "defaultRequestQueueId": f"queue-{run.id}",
    }


def as_run(run: Run) -> dict[str, Any]:
    """A run by itself."""
    options = {"build": "latest", "timeoutSecs": 300, "memoryMbytes": 1024, "diskMbytes": 2048}
    return {**as_listed(run), "stats": {"inputBodyLen": 10}, "options": options}


def spelled(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_answer(content: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(content).encode()


def error_answer(status: int, kind: str, message: str) -> tuple[int, dict[str, str], bytes]:
    return json_answer({"error": {"type": kind, "message": message}}, status)
