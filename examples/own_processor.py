"""A processor of your own gets conversion, checkpoints and resume from its base class:

    python -m examples.make_recordings
    python -m examples.own_processor

Another run continues from the last checkpoint, so after a complete one it yields no clip. To start over, delete
checkpoints/Interviews_unified_checkpoint.json.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from processors.base_processor import BaseProcessor
from utils.rows.schema import Position, RawClip

RECORDINGS = Path("data/my-recordings")


class InterviewsProcessor(BaseProcessor):
    def get_available_splits(self) -> list[str]:
        return ["train"]

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        """The clips from `position` on, each with the position after it."""
        with (RECORDINGS / "recordings.csv").open(encoding="utf-8", newline="") as table:
            rows = list(csv.DictReader(table))
        for number in range(position["index"], len(rows)):
            row = rows[number]
            audio = (RECORDINGS / row["file"]).read_bytes()
            yield RawClip(row["file"], {"index": number + 1}, audio, row["file"], row["text"], row["who"])


def main() -> None:
    processor = InterviewsProcessor()
    for sample in processor.process_all_splits(processor.load_unified_checkpoint()):
        print(sample["ID"], sample["source_id"], sample["speaker_id"], sample["length"], sample["transcript"])
    progress = processor.progress["train"]
    print(f"{progress.read} clips read so far: {progress.kept} kept, {progress.rejected} rejected.")


if __name__ == "__main__":
    main()
