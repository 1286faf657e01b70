"""Upload samples of your own to the Hub, each ID once however often this runs:

    python -m examples.make_recordings
    python -m examples.upload_samples me/my-voice

It needs a token with write access: `hf auth login`, or the variable HF_TOKEN. HF_ENDPOINT names another Hub.
"""

import csv
import sys
from pathlib import Path

import soundfile

from utils.errors import IngestError
from utils.streaming import StreamingUploader

RECORDINGS = Path("data/my-recordings")


def main(repo_id: str) -> None:
    with (
        (RECORDINGS / "recordings.csv").open(encoding="utf-8", newline="") as table,
        StreamingUploader(repo_id, private=True, append_mode=True) as uploader,
    ):
        taken = 0
        for row in csv.DictReader(table):
            clip = RECORDINGS / row["file"]
            sample = {"ID": clip.stem, "audio": clip.read_bytes(), "transcript": row["text"]}
            taken += uploader.add_sample(sample | {"length": soundfile.info(clip).duration})
        uploader.flush()  # an ID counts as uploaded once its commit has landed
        print(f"{taken} clips uploaded; {repo_id} now holds {len(uploader.uploaded_ids)}.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except IngestError as error:
        sys.exit(str(error))
