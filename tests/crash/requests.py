"""Faults of requests: what goes wrong, as the server of the tests is told it."""

from typing import Any

HTTP_ACTIONS: dict[str, dict[str, Any]] = {
    "kill before": {"action": "kill", "when": "before"},
    "kill after": {"action": "kill", "when": "after"},
    "no answer": {"action": "lost_before"},
    "answer lost after applying": {"action": "lost_after"},
    "answer late": {"action": "late", "seconds": 0.6},
    "stall past the timeout": {"action": "stall", "seconds": 0.6},
    "reset in the body": {"action": "reset_body"},
    "cut in the body": {"action": "cut_body"},
    **{str(status): {"action": "status", "status": status} for status in (408, 409, 412, 429, 500, 502, 503, 504)},
    "429 with Retry-After": {"action": "status", "status": 429, "retry_after": 3},
    "500 applied": {"action": "status_applied", "status": 500},
    "504 applied late": {"action": "status_late", "status": 504, "seconds": 0.3},
}


APIFY_ACTIONS: dict[str, dict[str, Any]] = {
    "kill before buying": {"action": "kill"},
    "kill after buying": {"action": "kill", "applied": True},
    "no answer of Apify": {"action": "lost_before"},
    "answer of Apify lost": {"action": "lost_after"},
    "half a body of Apify": {"action": "half_body"},
    "no JSON of Apify": {"action": "no_json"},
    **{f"{status} of Apify": {"action": "status", "status": status} for status in (429, 500, 503)},
    "500 of Apify, applied": {"action": "status_late", "status": 500},
}
