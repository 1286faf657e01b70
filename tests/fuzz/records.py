"""Files of JSON that we wrote ourselves and read back, and the card."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

from pipeline.terminal import report
from tests.fuzz.ending import FINE, Target, check
from tests.fuzz.mutate import NAMES, mutated
from tests.support import TonesProcessor, begun_state, change
from utils.audit.verify_state import StateChecks
from utils.checkpoint import load_checkpoint, progress_by_split
from utils.dataset.card import render_card
from utils.dataset.card_text import BEGIN, END_LINE, block_for_people
from utils.dataset.ledger import Ledger
from utils.dataset.state import Part, SourceState, State
from utils.dataset.target import published_files
from utils.rows.progress import Progress
from utils.rows.sealed_json import json_with_checksum
from utils.upload.upload_checkpoint import load_uploaded

_ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1.5, float("nan"), float("inf"), "", "abc", "S1", "x" * 70_000),
    *([], {}, [[]], [None], ["S1", "S0"], [["S1", "S5"], ["S3", "S900000000000000000"]], [[1, 2], [2, 1]], {"a": 1}),
    *({"index": "x"}, {"index": -1}, {"index": 10**30}, {"index": 2, "file": []}, *NAMES[:24]),
)


def targets() -> list[Target]:
    return [
        Target("checkpoints", _make_checkpoint, _read_checkpoint, share=5),
        Target("upload checkpoints", partial(_make, _uploads), _read_upload, share=5),
        Target("state.json", partial(_make, _states), _read_state, share=4),
        Target("files.jsonl", _make_ledger, _read_ledger, share=4),
        Target("card", _make_card, _read_card, share=0.15),
    ]


def _make(sounds: Callable[[], tuple[dict[str, Any], ...]], random: Random) -> bytes:
    """JSON with an odd value somewhere, its checksum right or not; or with its bytes damaged."""
    content = json.loads(json.dumps(random.choice(sounds())))
    sealed = "checksum" in content and random.random() < 0.8
    if random.random() < 0.6:
        for _ in range(random.choice((1, 1, 2))):
            content = with_odd_value(content, random)
        if sealed and isinstance(content, dict):
            return json_with_checksum({key: value for key, value in content.items() if key != "checksum"})
        return json.dumps(content).encode()
    raws = [json.dumps(sound, indent=1).encode() for sound in sounds()]
    if random.random() < 0.02:
        return random.choice((b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe{}", b"{}", b"null", b"", b"1" * 10_000))
    return mutated(random.choice(raws), raws, random)


def with_odd_value(content: Any, random: Random) -> Any:
    """The same JSON with one value, wherever it stands, replaced, dropped or under another key."""
    if not content or not isinstance(content, dict | list) or random.random() < 0.1:
        return random.choice(_ODD)
    if isinstance(content, list):
        at = random.randrange(len(content))
        return [*content[:at], with_odd_value(content[at], random), *content[at + 1 :]]
    key = random.choice(sorted(content))
    others = {name: value for name, value in content.items() if name != key}
    chance = random.random()
    if chance < 0.08:
        return others
    if chance < 0.2:
        return {**others, random.choice(NAMES[:24]): content[key]}
    return {**others, key: with_odd_value(content[key], random)}


# --- checkpoints ---------------------------------------------------------------------------------


@cache
def _checkpoints() -> tuple[dict[str, Any], ...]:
    progress = {"position": {"index": 8}, "read": 8, "kept": 7, "rejected": 1, "finished": True}
    unified = {
        "mode": "unified",
        "version": "2.0",
        "samples_processed": 7,
        "current_split": "test",
        "split_index": 8,
        "shard_num": 0,
        "last_sample_id": "S7",
        "processed_ids": [["S1", "S7"]],
        "timestamp": 1_700_000_000,
        "dataset_specific": {"position": {"index": 8}, "revision": "r", "splits": {"test": progress}},
        "processor": "TonesProcessor",
    }
    plain = {**unified, "dataset_specific": {}, "current_split": "train", "split_index": 5}
    streaming = {"mode": "streaming", "shard_num": 2, "samples_processed": 9, "timestamp": 1, "processor": "Tones"}
    regular = {"processed_count": 3, "current_index": 3, "processed_ids": ["S1", "a"], "metadata": {"version": "1.0"}}
    return json.loads(json_with_checksum(unified)), json.loads(json_with_checksum(plain)), plain, streaming, regular


def _make_checkpoint(random: Random) -> bytes:
    return _make(_checkpoints, random)


def _read_checkpoint(made: bytes, folder: Path) -> str:
    """Loaded, and read on from as a processor that is used by itself does."""
    (folder / "checkpoint.json").write_bytes(made)
    loaded = load_checkpoint(folder / "checkpoint.json")
    progress_by_split(loaded)
    processor = _Silent(checkpoint_dir=folder)
    for _ in processor.process_all_splits(checkpoint=loaded, checkpoint_interval=1000):
        pass
    return FINE


class _Silent(TonesProcessor):
    """Its clips cost nothing."""

    name = "Silent"

    def convert_to_standard_format(self, sample: Any) -> Any:
        return {"ID": "", "source_id": f"Silent/train/{sample.key}"}


@cache
def _uploads() -> tuple[dict[str, Any], ...]:
    whole = {"shard_index": 1, "samples_uploaded": 5, "split": "train", "dataset_name": "me/x", "generation": "g"}
    elsewhere = {"count": 10_000_000, "listed_in": "data/train/*.parquet, column ID"}
    return (
        {**whole, "uploaded_ids": [["S1", "S5"], "abc"]},
        {**whole, "uploaded_ids": elsewhere},
        {"uploaded_ids": ["S1", "S2"]},
    )


def _read_upload(made: bytes, folder: Path) -> str:
    (folder / "upload.json").write_bytes(made)
    loaded = load_uploaded(folder / "upload.json")
    assert loaded is not None
    check(len(loaded["uploaded_ids"]) >= 0, "a set without a size")
    loaded.get("generation")
    return FINE


# --- state and ledger ----------------------------------------------------------------------------


def grown_state(about: dict[str, str] | None = None) -> State:
    """A state with two parts, a finished split, holes and a ledger."""
    state = begun_state()
    if about:
        state = state.with_source("Corpus", SourceState("revision", {"audio.format": "flac"}, about))
    for number in range(2):
        progress = Progress({"index": number + 1}, number + 1, kept=number + 1, finished=number == 1)
        numbers = (state.next_id, state.next_id)
        state = state.after(Part("Corpus", "train", number, progress, 1, (numbers,), 0.5, 100, has_rejects=False))
    return _ledger(state).signed(replace(state, holes=((1, 1),), libraries={"numpy": "2"}))


def _ledger(state: State) -> Ledger:
    lines = [
        {"path": path, "rows": 1, "size_bytes": 100, "sha256": hashlib.sha256(path.encode()).hexdigest()}
        for path in published_files(state)
        if path.startswith("data/")
    ]
    return Ledger("".join(json.dumps(line) + "\n" for line in lines).encode())


@cache
def _states() -> tuple[dict[str, Any], ...]:
    return json.loads(grown_state().to_json()), json.loads(begun_state().to_json())


def _read_state(made: bytes, folder: Path) -> str:
    """Loaded, and put to all that a run, `--status` and a card do with it before a shard is read."""
    state = State.from_json(made)
    for path in published_files(state):
        check(".." not in path.split("/") and "\0" not in path and not path.startswith("/"), f"{path!r} as a path")
    card = render_card(state, None, "me/thai-voice")
    check(render_card(state, card, "me/thai-voice") == card, "a card that does not settle")
    report.status_report(state, "me/thai-voice", {}, {})
    check(State.from_json(state.to_json()) == state, "a state that does not survive being written")
    for name, source in state.sources.items():
        for split in source.splits:
            if name == "Corpus" and split == "train":
                change(folder / "built", state)
    return FINE


def _make_ledger(random: Random) -> bytes:
    lines = [json.loads(line) for line in _ledger(grown_state()).raw.splitlines()]
    if random.random() < 0.5:
        lines[random.randrange(2)] = with_odd_value(lines[0], random)
        return "".join(json.dumps(line) + "\n" for line in lines).encode()
    raw = _ledger(grown_state()).raw
    return mutated(raw, [raw], random)


def _read_ledger(made: bytes, folder: Path) -> str:
    """As the state names it, and signed by a state that whoever made it has signed too."""
    state = grown_state()
    signed = Ledger(made).signed(state)
    for record in Ledger.checked(made, signed).records():
        check(record.size_bytes >= 0 and isinstance(record.path, str), "a record of nothing")
    checks = StateChecks()
    checks._read_ledger(made, signed)
    list(Ledger.checked(made, state).records())
    return FINE


# --- the card ------------------------------------------------------------------------------------

_CARDS = (
    "---\nlanguage: en\ntags:\n- mine\nlicense: mit\n---\n# Mine\n\ntext\n",
    "---\n# comment\nconfigs: &a [1, 2]\nother: *a\n<<: {x: 1}\n---\n",
    f"---\nx: 2021-01-01\ny: !!binary aGVsbG8=\n---\nbefore\n{BEGIN}; old -->\nold\n{END_LINE}\nafter\n",
    "\ufeff---\r\na: 1\r\n---\r\n\r\nwindows\r\n",
    "no front matter\n",
)
_BOMBS = (
    "a: &a [x]\n" + "".join(f"{n}: &{n} [{f'*{m}, ' * 9}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)),
    "a: &a {k: v}\n"
    + "".join(f"{n}: &{n}\n  <<: [{f'*{m}, ' * 4}]\n" for m, n in zip("abcdefghijklm", "bcdefghijklmn", strict=True)),
    *("a: " + "[" * 3000, "a: " + "1:" * 500 + "60.0", "? " * 500 + "a", "a: !!python/object/apply:os.system [exit]"),
    *("a: &a [*a]", "&a a: {b: *a}", "a: !!set {b, c}\nb: !!omap [a: 1]\n", "a: .inf\nb: .nan\n"),
    *("a: '\\uD800'\nb: \"\\uD800\"\n", "a: 0x" + "f" * 5000, "a: " + "9" * 5000),
)


def _make_card(random: Random) -> bytes:
    texts = [card.encode() for card in _CARDS]
    if random.random() < 0.15:
        return f"---\n{random.choice(_BOMBS)}\n---\ntext\n".encode(errors="surrogatepass")
    return mutated(random.choice(texts), texts, random)


def _read_card(made: bytes, folder: Path) -> str:
    """Rendered into, as a folder's is; what people wrote is kept, and a second time changes nothing."""
    text = made.decode(errors="surrogateescape")
    words = ("<script>x</script>", "[y](javascript:1)", "z | `w` | \u202e\n# v", END_LINE)
    state = grown_state({"title": words[0], "licence_name": words[1], "terms": words[2], "url": words[3]})
    card = render_card(state, text)
    check(render_card(state, card) == card, "a card that does not settle")
    ours = block_for_people(state, None)
    check(ours in card, "our block is not in the card")
    check(not any(word in ours.removesuffix(END_LINE) for word in words), "markup of a source in the card")
    return FINE
