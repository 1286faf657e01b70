"""What is run under attack: small sources, and the commands on them."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from processors import describe
from processors.demo.mirrors import write_table, write_tar_gz
from tests.apify.support import QUERIES
from tests.crash.warm import TIMEOUT_S
from tests.support import tone
from utils.rows.schema import AUDIO_TYPE

HUB, FOLDER = "hub", "folder"
MOUNTED = ("fresh over older data, folder", "repair, folder", "removal, folder", "fresh over a removal, folder")
"""What is done to a mount point as well."""
REPO = "me/thai-voice"
OUTPUT = "../target/out"
SOURCES = "../sources"
SHARED = f"{SOURCES}/shared"
"""Mirrors of two sources that have clips in common."""
WITHDRAWN = "withdrawn.txt"
"""The clips that are taken out."""
SMALL = ("--upload-batch-size", "2", "--checkpoint-interval", "2", "--quiet")
CUTS = (*SMALL, "--no-overlap")
"""One step after the other: the same ones in every run, so that each of them can be struck."""
OVERLAPPED = (*SMALL, "--num-workers", "2")
"""As users run it: which step is which is chance, and so is what a fault strikes."""
MIRRORS = ("--source-dir", SOURCES, "--accept-terms", "GigaSpeech2")
PARQUET_REPO = "Porameht/processed-voice-th-169k"


@dataclass(frozen=True)
class Scenario:
    """A command to be disturbed, on what `before` has made, and `then`, which goes on until all is done.

    Commands are without their target.
    """

    name: str
    target: str
    command: tuple[str, ...]
    then: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    duplicated: bool = False
    """What `before` has made is turned into what retries would have made of it."""
    buys: bool = False
    """It buys from the tests' Apify. What was bought is on this machine alone: `data/raw` moves with the user."""
    keeps: str = ""
    """How the data that was there before is kept: the name of a folder, or of a tag, begins like this. Empty: not told,
    or, of a removal on the Hub, in its history alone."""
    mounted: bool = False
    """The folder is a mount point: whatever is kept lies in it."""


def arguments(command: Sequence[str], target: str) -> list[str]:
    """A command with its target."""
    where = ["--hf-repo", REPO, "--timeout", str(TIMEOUT_S)] if target == HUB else ["--output", OUTPUT]
    return [*command, *where]


def scenarios() -> list[Scenario]:
    """All scenarios: both targets, and a mount point; fresh, over older data, appending, repairing, taking out, all at
    once; sources from a mirror and the Hub."""
    giga, parquet = ("GigaSpeech2", *MIRRORS, *CUTS), ("ProcessedVoiceTH", *MIRRORS, *CUTS)
    overlapped = ("GigaSpeech2", "ProcessedVoiceTH", *MIRRORS, *OVERLAPPED)
    hub_source = ("ProcessedVoiceTH", *CUTS, "--timeout", str(TIMEOUT_S))
    found = []
    for target in (FOLDER, HUB):
        kept = "before-fresh-" if target == HUB else "out.before-fresh-"
        found += [
            Scenario(f"fresh, {target}", target, ("--fresh", *giga), ("--fresh", "--resume", *giga)),
            Scenario(
                f"fresh over older data, {target}",
                target,
                ("--fresh", *giga),
                ("--fresh", "--resume", *giga),
                before=(("--fresh", *parquet),),
                keeps=kept,
            ),
            Scenario(
                f"append, {target}",
                target,
                ("--append", *parquet),
                ("--append", *parquet),
                before=(("--fresh", *giga),),
            ),
        ]
        found.append(
            Scenario(
                f"overlapped, {target}",
                target,
                ("--fresh", *overlapped),
                ("--fresh", "--resume", *overlapped),
            )
        )
        both = ("GigaSpeech2", "ProcessedVoiceTH", "--source-dir", SHARED, *MIRRORS[2:], *CUTS)
        found.append(
            Scenario(f"duplicates, {target}", target, ("--fresh", *both), ("--fresh", "--resume", *both)),
        )
        found.append(
            Scenario(
                f"repair, {target}",
                target,
                ("--repair",),
                ("--repair",),
                before=(("--fresh", *parquet),),
                duplicated=True,
                keeps="before-repair-" if target == HUB else "out.before-repair-",
            )
        )
        withdrawn = ("--remove", "ProcessedVoiceTH", "--remove-id", f"{SOURCES}/{WITHDRAWN}")
        found.append(
            Scenario(
                f"removal, {target}",
                target,
                withdrawn,
                withdrawn,
                before=(("--fresh", *parquet), ("--append", *giga)),
                keeps="" if target == HUB else "out.before-removal-",
            )
        )
        found.append(
            Scenario(
                f"fresh over a removal, {target}",
                target,
                ("--fresh", *giga),
                ("--fresh", "--resume", *giga),
                before=(("--fresh", *giga), withdrawn[2:]),
                keeps=kept,
            )
        )
    found += [_mounted(scenario) for scenario in found if scenario.name in MOUNTED]
    paid = ("Apify", "--queries", f"{SOURCES}/queries.yaml", *CUTS, "--flush-interval", "2", "--accept-terms", "Apify")
    found += [
        Scenario("fresh, paid, folder", FOLDER, ("--fresh", *paid), ("--fresh", "--resume", *paid), buys=True),
        Scenario(
            "append, paid, hub",
            HUB,
            ("--append", *paid),
            ("--append", *paid),
            before=(("--fresh", *parquet),),
            buys=True,
        ),
    ]
    for more in ((), ("--streaming",)):
        found.append(
            Scenario(
                f"source on the Hub{', streamed' if more else ''}, folder",
                FOLDER,
                ("--fresh", *hub_source, *more),
                ("--fresh", "--resume", *hub_source, *more),
            )
        )
    return found


def _mounted(scenario: Scenario) -> Scenario:
    """The same where the folder is a mount point; a removal keeps nothing there unless it is asked to."""
    keeps = "" if scenario.name.startswith("removal") else scenario.keeps.removeprefix("out")
    return replace(scenario, name=f"{scenario.name}, mounted", keeps=keeps, mounted=True)


def write_sources(folder: Path) -> None:
    """Two small sources: 7 clips in archives, 5 in Parquet, each with rejects; and what to buy. Always the same.

    In `shared` the Parquet has clips of the archives too.
    """
    for place in (folder, folder / "shared"):
        _write_archives(place)
    _write_parquet(folder / PARQUET_REPO, {"train": range(50, 53), "dev": range(60, 61), "test": range(70, 71)})
    _write_parquet(folder / "shared" / PARQUET_REPO, {"train": (2, 10, 30), "dev": (20,), "test": (70,)})
    (folder / "queries.yaml").write_text(QUERIES)
    (folder / WITHDRAWN).write_text("GigaSpeech2/train/0-100-2\nGigaSpeech2/test/901-1001-0\n")


def _write_archives(folder: Path) -> None:
    giga = folder / describe("GigaSpeech2").mirror / "data/th"
    split_ids = {
        "train/0": [f"0-100-{number}" for number in range(3)],
        "train/1": [f"1-101-{number}" for number in range(2)],
        "dev": ["900-1000-0"],
        "test": ["901-1001-0"],
    }
    for number, (archive, ids) in enumerate(split_ids.items()):
        root = "dev/" if archive == "dev" else ""
        members = [
            (f"{root}{'/'.join(clip_id.split('-')[:2])}/{clip_id}.wav", _clip(10 * number + at))
            for at, clip_id in enumerate(ids)
        ]
        write_tar_gz(giga / f"{archive}.tar.gz", members)
    train = [clip_id for archive, ids in split_ids.items() if archive.startswith("train") for clip_id in ids]
    write_table(giga / "train_raw.tsv", [(clip_id, f"ประโยค {clip_id}") for clip_id in train])
    # One clip is not in the table that is read: unselected.
    write_table(giga / "train_refined.tsv", [(clip_id, f"ประโยค {clip_id}") for clip_id in train[:3] + train[4:]])
    for name in ("dev", "test"):
        write_table(giga / f"{name}.tsv", [(clip_id, f"ประโยค {clip_id}") for clip_id in split_ids[name]])


def _write_parquet(folder: Path, clips: Mapping[str, Iterable[int]]) -> None:
    schema = pa.schema([("audio", AUDIO_TYPE), ("sentence", pa.string())])
    for name, numbers in clips.items():
        rows = [
            {"audio": {"bytes": _clip(number), "path": f"common_voice_th_{number}.wav"}, "sentence": f"คำ {number}"}
            for number in numbers
        ]
        path = folder / f"data/{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=2)


SILENT, BROKEN = (1,), (51,)


def _clip(number: int) -> bytes:
    """A short clip unlike any other; some are silent, some are no audio: rejects."""
    if number in BROKEN:
        return b"<html>503</html>"
    audio = tone(number, duration_s=0.15)
    return audio[:44] + bytes(len(audio) - 44) if number in SILENT else audio


def duplicate(folder: Path, copies: int = 3) -> None:
    """Turn a published folder into what retries made of one: the same rows several times, and no state."""
    for path in sorted(folder.glob("data/*/*.parquet")):
        table = pq.read_table(path, partitioning=None)
        for number in range(1, copies):
            pq.write_table(table, path.with_name(f"{path.stem}-again-{number}.parquet"))
    shutil.rmtree(folder / ".ingest")
