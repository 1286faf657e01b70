"""What must hold after an attack: published bytes, books, what is left lying about."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.crash.warm import BUG

STATE = ".ingest/state.json"
STATES = (STATE, ".ingest/state.previous.json")
DIFFERING = ("checksum", "generation", "run_id", "sequence", "committed_at")
PROMISED = frozenset({0, 2, 3, 4, 5, 6, 7, 130, -9})
"""Exit codes that a disturbed run may have: the documented ones, and that of the kill."""
OWN = ("data/", "dialogue/", "rejected/", ".ingest/", "README.md")

FOLDERS = {"speech": "data", "dialogue": "dialogue"}
"""Kind of rows -> the folder of its shards."""
STAMP = re.compile(rb"(training\\?_data\\?_master|raw_items)\\?_\d{8}\\?_\d{6}")
"""The name of a collection, with when it was begun; the card escapes it."""

Files = Mapping[str, bytes]
"""Path in the target -> content."""


def differences(ours: Files, undisturbed: Files) -> Iterator[str]:
    """How a finished dataset differs from the undisturbed run's: in any byte, but for who wrote the state and when."""
    for path in sorted({*ours, *undisturbed}):
        if path not in ours:
            yield f"{path} is missing"
        elif path not in undisturbed:
            yield f"{path} is too much"
        elif path in STATES:
            if _content(ours[path]) != _content(undisturbed[path]):
                yield f"{path} differs"
        elif STAMP.sub(b"STAMP", ours[path]) != STAMP.sub(b"STAMP", undisturbed[path]):
            yield f"{path} differs"


def broken_promises(committed: Files, undisturbed: Files) -> Iterator[str]:
    """What is wrong with a dataset in the middle: all that its state names must be there, and as it will stay."""
    if STATE not in committed:
        return
    state = json.loads(committed[STATE])
    if state["replaces_old_data"]:
        return
    for path in named_files(state):
        if path in undisturbed and committed.get(path) != undisturbed[path]:
            yield f"the state names {path}, which is missing or another than the undisturbed run's"
    for path in named_files(state):
        if path not in undisturbed and path in committed:
            yield f"{path} is published, but an undisturbed run has no such file"
    yield from unbalanced(state)


def named_files(state: Mapping[str, Any]) -> Iterator[str]:
    for source, about in state["sources"].items():
        for split, books in about["splits"].items():
            for number in range(books["parts"]):
                for folder in (FOLDERS[about.get("schema", "speech")], "rejected"):
                    yield f"{folder}/{split}/{source}-{number:05d}.parquet"


def unbalanced(state: Mapping[str, Any]) -> Iterator[str]:
    taken_out = state.get("taken_out") or {"holes": {}}
    holes = {"speech": state["holes"], **taken_out["holes"]}
    numbers = {
        kind: [number for first, last in holes.get(kind, ()) for number in range(first, last + 1)] for kind in FOLDERS
    }
    missing = sum(map(len, numbers.values()))
    for source, about in state["sources"].items():
        for split, books in about["splits"].items():
            progress = books["progress"]
            parts = progress["kept"] + progress["rejected"] + progress["unselected"] + progress["known"]
            missing -= progress["kept"] - books["published"]
            if progress["read"] != parts or books["published"] > progress["kept"]:
                yield f"the books of {source}/{split} do not balance"
            given = [number for first, last in books["ids"] for number in range(first, last + 1)]
            numbers[about.get("schema", "speech")] += given
    if missing:
        yield f"{abs(missing)} clips too {'few' if missing > 0 else 'many'} are published"
    next_ids = {"speech": state["next_id"], **state.get("next_ids", {})}
    for kind, given in numbers.items():
        if sorted(given) != list(range(1, next_ids.get(kind, 1))):
            yield f"IDs of {kind} are missing, or used twice"


def complaints(code: int | None, told: str) -> Iterator[str]:
    """What is wrong with how a run ended: an exit code that is not documented, a traceback, a bug of ours."""
    if code == BUG or "Traceback" in told or "bug of ours" in told or "Exception ignored" in told:
        yield f"a traceback:\n{told}"
    elif code not in PROMISED:
        yield f"exit code {code}:\n{told}"


def left_lying(machine: Path) -> Iterator[str]:
    """What a finished run must not leave on its machine."""
    staging, raw = machine / "data" / "staging", machine / "data" / "raw"
    leftovers = [*staging.rglob("*.tmp"), *raw.glob("*.tmp"), *(machine / "checkpoints").glob("*.tmp")]
    for path in [*staging.rglob("*.arrow"), *staging.rglob("*.parquet"), *leftovers]:
        if "set-aside" not in path.parts and "archive" not in path.parts:
            yield f"{path.relative_to(machine)} was left"


def left_in_the_folder(folder: Path, kept: str) -> Iterator[str]:
    """What a finished run must not leave in its folder: locks, changes, old data but for what is to be `kept` there."""
    for path in folder.glob(".*"):
        if path.name not in (".ingest", ".set-aside") and not (kept and path.name.startswith(kept)):
            yield f"{path.name} was left in the folder"


def journals(machine: Path) -> Files:
    """What was bought, up to the last whole line of each file."""
    return {
        path.name: content[: content.rfind(b"\n") + 1]
        for path in (machine / "data" / "raw").glob("*.jsonl")
        for content in (path.read_bytes(),)
    }


def shrunk(before: Files, after: Files) -> Iterator[str]:
    """Journals that have not only grown."""
    for name, content in before.items():
        if not after.get(name, b"").startswith(content):
            yield f"{name} lost lines that it had, or they were changed"


def wrongly_bought(machine: Path, bought: Sequence[Any], undisturbed: Sequence[Any], pairs: int) -> Iterator[str]:
    """What was bought twice or not at all, and whether each pair is in a master once."""
    if list(bought) != list(undisturbed):
        yield f"bought {list(bought)}, where an undisturbed run buys {list(undisturbed)}"
    masters = [content for name, content in journals(machine).items() if name.startswith("training_data_master")]
    replies = [json.loads(line)["reply_id"] for content in masters for line in content.splitlines()]
    if len(replies) != pairs or len(set(replies)) != pairs:
        yield f"{len(replies)} pairs in the masters, {len(set(replies))} of them different, where there are {pairs}"


def _content(state: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(STAMP.sub(b"STAMP", state))
    return {name: value for name, value in content.items() if name not in DIFFERING}
