"""JSON with a checksum over its content: a file that somebody or something changed is noticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def json_with_checksum(content: Mapping[str, Any]) -> bytes:
    """JSON for people and programs, with a checksum over its content."""
    return (json.dumps({**content, "checksum": _checksum(content)}, ensure_ascii=False, indent=2) + "\n").encode()


def checked_json(raw: bytes) -> dict[str, Any]:
    """The object that `json_with_checksum` wrote. ValueError where it is not that any more."""
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    recorded = content.pop("checksum", None)
    if recorded != _checksum(content):
        raise ValueError("its checksum does not match its content")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
