"""A small source of text: pairs of a question and its answer, in lines of JSON. Known to runs once `register`ed."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from processors import PAID
from processors.base_processor import BaseProcessor, SourceInfo
from utils.rows.schema import DIALOGUE, Dialogue, Position, RawClip, Reject, metadata_json

SOURCE = "Pairs"
MIRROR = "pairs"
PAIRS: Mapping[str, Iterable[int]] = {"train": range(10), "test": range(20, 24)}
"""Split -> the numbers of its pairs. Where one ends in 3 its answer is too short, in 7 it has another's name."""
KEPT = 10
"""Of those."""


class PairsProcessor(BaseProcessor):
    """Reads `{split}.jsonl`; its position is a line's number."""

    name = SOURCE
    info = SourceInfo("Questions and answers", "", "cc0-1.0", "CC0-1.0", "", MIRROR)
    row_schema = DIALOGUE

    def get_available_splits(self) -> list[str]:
        return ["test", "train"]

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        with self.files.open(f"{split}.jsonl") as file:
            for number, line in enumerate(file):
                if number >= position["index"]:
                    item = json.loads(line)
                    yield RawClip(item["id"], {"index": number + 1}, metadata=item, selected=not item.get("hidden"))

    def convert_to_standard_format(self, sample: RawClip | Mapping[str, Any]) -> Dialogue | Reject:
        assert isinstance(sample, RawClip) and sample.metadata is not None
        item = sample.metadata
        source_id = f"{self.name}/{self._current_split}/{sample.key}"
        if len(item["answer"]) < 3:
            return Reject(source_id, "short_answer", f"{len(item['answer'])} letters")
        return Dialogue(
            ID="",
            source_id=source_id,
            dataset_name=self.name,
            prompt=item["question"],
            response=item["answer"],
            query=None,
            author_hash=None,
            created_at="2026-11-21T08:00:00Z",
            likes=item["likes"],
            replies=None,
            language="th",
            source_metadata=metadata_json({"topic": item.get("topic")}),
        )


def pair(number: int) -> dict[str, Any]:
    return {
        "id": str(number - 6 if number % 10 == 7 else number),
        "question": f"คำถามที่ {number}?",
        "answer": "ค" if number % 10 == 3 else f"คำตอบที่ {number} " * (1 + number % 4),
        "likes": number if number % 2 else None,
        "hidden": number % 10 == 8,
    }


def write_pairs(folder: Path, pairs: Mapping[str, Iterable[int]] = PAIRS) -> Path:
    """A mirror of the source below `folder`."""
    (folder / MIRROR).mkdir(parents=True, exist_ok=True)
    for split, numbers in pairs.items():
        lines = [json.dumps(pair(number), ensure_ascii=False) + "\n" for number in numbers]
        (folder / MIRROR / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the source one that runs in this process can name."""
    monkeypatch.setitem(PAID, SOURCE, "tests.rows.pairs")
