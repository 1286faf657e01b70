"""What both programs read: made once, by the tool's own tree, always the same bytes.

mirrors/   the demo's mirrors: tar.gz archives, Parquet files, an archive of Common Voice
hub/       a Hub that has two of them as datasets, to be streamed; each run gets a copy
own/       a folder of clips in four formats and three rates with a csv for each split, and own.yaml, which describes it
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from processors import describe
from processors.demo.mirrors import ERROR_PAGE, write_demo_sources
from processors.demo.voice import Samples, SyntheticVoice
from tests.hub_server import HubServer

STREAMED = ("GigaSpeech2", "ProcessedVoiceTH")
OWN_SOURCE = "MyClips"

_FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_24"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", None)}
_RATES_HZ = (16_000, 22_050, 44_100)
_M4A = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0" + bytes(range(256)) * 4
"""Begins as one does; what it holds can't be decoded."""
_YAML = f"""\
sources:
  - name: {OWN_SOURCE}
    location: clips
    reader: table
    columns: {{audio: file, transcript: text, speaker: who, metadata: [note]}}
    splits: {{train: train.csv, validation: dev.csv, test: test.csv}}
    licence: cc-by-4.0
    title: Clips of our own
"""


@dataclass(frozen=True)
class Inputs:
    folder: Path

    @property
    def mirrors(self) -> Path:
        return self.folder / "mirrors"

    @property
    def hub(self) -> Path:
        return self.folder / "hub"

    @property
    def own(self) -> Path:
        return self.folder / "own/own.yaml"


def write_inputs(folder: Path, demo: bool = True) -> Inputs:
    """`demo`: with the mirrors and the Hub; else the source of one's own alone."""
    inputs = Inputs(folder)
    _write_own_source(inputs.own)
    if demo:
        write_demo_sources(inputs.mirrors)
        hub = HubServer(inputs.hub)
        with hub:
            for source in STREAMED:
                mirror = describe(source).mirror
                hub.add_dataset(mirror, inputs.mirrors / mirror)
    return inputs


def _write_own_source(description: Path) -> None:
    """Twelve clips of train, six of dev and of test; two more have no row."""
    clips = description.parent / "clips"
    clips.mkdir(parents=True)
    description.write_text(_YAML, encoding="utf-8")
    voice = SyntheticVoice(seed=7)
    for table, numbers in (("train", range(12)), ("dev", range(12, 18)), ("test", range(18, 24))):
        with (clips / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "text", "who", "note"])
            for number in numbers:
                spoken = voice.clip(number)
                ending = [*_FORMATS][number % len(_FORMATS)]
                name = f"{table}-{number:02}.{ending}"
                (clips / name).write_bytes(_encoded(_shaped(spoken.samples, number), ending, _rate_hz(number)))
                rows.writerow([name, spoken.sentence, f"speaker-{spoken.speaker}", f'"{number}", quoted'])
            rows.writerows(_rejected_rows(table, clips))
    for number in (24, 25):
        (clips / f"no-row-{number}.wav").write_bytes(_encoded(voice.clip(number).samples, "wav"))


def _rejected_rows(table: str, clips: Path) -> list[list[str]]:
    """Clips that are rejected, each for a reason of its own; a repeated row, a missing clip and a copy at the end."""
    silence = np.zeros(16_000, np.float32)
    broken = {"page.mp3": ERROR_PAGE, "sealed.m4a": _M4A, "empty.wav": b"", "silent.wav": _encoded(silence, "wav")}
    for name, content in broken.items():
        (clips / f"{table}-{name}").write_bytes(content)
    first = sorted(clips.glob(f"{table}-[0-9]*"))[0]
    (clips / f"{table}-copy{first.suffix}").write_bytes(first.read_bytes())
    names = [*(f"{table}-{name}" for name in broken), first.name, f"{table}-missing.wav", f"{table}-copy{first.suffix}"]
    return [[name, "คำพูด", "", ""] for name in names]


def _rate_hz(number: int) -> int:
    """Each format comes in each rate."""
    return _RATES_HZ[number // len(_FORMATS) % len(_RATES_HZ)]


def _shaped(samples: Samples, number: int) -> Samples:
    """Of a length that is no round number of milliseconds, and every fifth clip in stereo."""
    cut = samples[: len(samples) - 37 * (number + 1)]
    return np.stack([cut, 0.5 * cut], axis=1) if number % 5 == 4 else cut


def _encoded(samples: Samples, ending: str, rate_hz: int = 16_000) -> bytes:
    container, subtype = _FORMATS[ending]
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype)
    return file.getvalue()
