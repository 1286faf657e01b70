"""Made-up recordings and their table, for the other examples: `python -m examples.make_recordings`.

They go to data/my-recordings: twelve clips, and recordings.csv, which says what is spoken in each and by whom.
"""

import csv
from pathlib import Path

from processors.demo.voice import SyntheticVoice, wav_bytes

FOLDER = Path("data/my-recordings")
CLIPS = 12


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    voice = SyntheticVoice(seed=1)
    with (FOLDER / "recordings.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "text", "who"])
        for number in range(CLIPS):
            clip, name = voice.clip(number), f"clip-{number:02}.wav"
            (FOLDER / name).write_bytes(wav_bytes(clip.samples))
            table.writerow([name, clip.sentence, f"speaker-{clip.speaker}"])
    print(f"{CLIPS} clips and recordings.csv are in {FOLDER}.")


if __name__ == "__main__":
    main()
