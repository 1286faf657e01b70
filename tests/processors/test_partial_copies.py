"""Corpora of which a part is lacking: no row gets the clip of another, and the listing sees what the reader sees."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from processors.base_processor import ProcessorConfig
from processors.configured.own_source import OwnSource
from processors.readers.spec import Columns, TableSpec
from processors.readers.table_names import SharedFolders
from processors.source_info import Location
from tests.corpus_mirrors import write_files, zip_of
from tests.processors.test_table_source import INFO, KALDI, PACKED, SPEC, Files
from utils.rows.schema import SPLITS, START
from utils.sources.source_files import SourceAccess

TEXTS = TableSpec(Columns(audio=("key",), transcript=("value",)), tables=("*.txt",), form="texts")
Pairs = Mapping[str, bytes | None]
"""Transcript -> the audio that it got."""


def pairs(folder: Path, files: Files, spec: TableSpec = SPEC) -> Pairs:
    """Of all splits; the listing names the very same clips."""
    write_files(folder / "source", files)
    own = OwnSource("Corpus", INFO, spec, Location(str(folder / "source")))
    processor = own.processor_class()(ProcessorConfig(access=SourceAccess(cache_dir=folder / "cache")))
    found: dict[str, bytes | None] = {}
    for split in SPLITS:
        read = list(processor.read(split, dict(START)))
        listed = [(clip.key, clip.selected) for clip in processor.listed(split, folder / f"scratch-{split}", True)]
        assert sorted(listed_names(listed)) == sorted(listed_names([(clip.key, clip.selected) for clip in read]))
        found |= {f"{split} {clip.transcript}": clip.audio for clip in read if clip.selected}
    return found


def listed_names(clips: list[tuple[str, bool]]) -> list[str]:
    """Names of clips that count; of others how many there are is enough."""
    return [name if selected else "" for name, selected in clips]


def table(*names: str) -> bytes:
    return "".join(["path,text\n", *(f"{name},{at}\n" for at, name in enumerate(names))]).encode()


PARTIAL: Mapping[str, tuple[Files, TableSpec, Pairs]] = {
    "the folder of a split": (
        {
            "train.csv": table("train/0.wav", "train/1.wav"),
            "test.csv": table("test/0.wav", "test/1.wav"),
            "train/0.wav": b"A",
            "train/1.wav": b"B",
        },
        SPEC,
        {"train 0": b"A", "train 1": b"B", "test 0": None, "test 1": None},
    ),
    "the table of the other split, too": (
        {"test.csv": table("test/0.wav", "b.wav"), "train/0.wav": b"A", "b.wav": b"B"},
        SPEC,
        {"test 0": None, "test 1": b"B"},
    ),
    "the archive of a split": (
        {
            "train.csv": table("0.wav"),
            "test.csv": table("0.wav", "1.wav"),
            "train.zip": zip_of({"0.wav": b"A", "1.wav": b"B"}),
        },
        SPEC,
        {"train 0": b"A", "test 0": None, "test 1": None},
    ),
    "the archive of a speaker": (
        {
            "ann.csv": table("0.wav", "1.wav"),
            "bob.csv": b"path,text\n0.wav,of bob\n",
            "ann.zip": zip_of({"0.wav": b"A"}),
        },
        SPEC,
        {"train 0": b"A", "train 1": None, "train of bob": None},
    ),
    "speakers": (
        {"train.csv": table("bob/0.wav", "ann/0.wav", "cat/0.wav"), "ann/0.wav": b"A"},
        SPEC,
        {"train 0": None, "train 1": b"A", "train 2": None},
    ),
    "speakers in paths of another machine": (
        {"train.csv": table("/data/c/bob/0.wav", "/data/c/ann/0.wav", "/data/c/cat/0.wav"), "c/ann/0.wav": b"A"},
        SPEC,
        {"train 0": None, "train 1": b"A", "train 2": None},
    ),
    "speakers with sub-folders": (
        {"train.csv": table("C:\\c\\bob\\wav\\0.wav", "C:\\c\\ann\\wav\\0.wav"), "ann/wav/0.wav": b"A"},
        SPEC,
        {"train 0": None, "train 1": b"A"},
    ),
    "a speaker who has a table alone": (
        {"train.csv": table("bob/0.wav"), "test.csv": table("ann/1.wav"), "ann/0.wav": b"A", "ann/1.wav": b"B"},
        SPEC,
        {"train 0": None, "test 0": b"B"},
    ),
    "a folder, of clips that others in the folder above have": (
        {"train.csv": table("bob/0.wav", "0.wav", "/c/bob/1.wav", "/c/1.wav"), "0.wav": b"A", "1.wav": b"B"},
        SPEC,
        {"train 0": None, "train 1": b"A", "train 2": None, "train 3": b"B"},
    ),
    "a folder beside a table": (
        {"train/metadata.csv": table("b/0.wav", "a/0.wav"), "train/a/0.wav": b"A"},
        SPEC,
        {"train 0": None, "train 1": b"A"},
    ),
    "a clip of one of two trees": (
        {"wav/mon/0.wav": b"A", "wav/tue/1.wav": b"B", "txt/tue/0.txt": b"none", "txt/tue/1.txt": b"b"},
        TEXTS,
        {"train none": None, "train b": b"B"},
    ),
    "a folder of one of two trees": (
        {"wav/mon/0.wav": b"A", "wav/mon/1.wav": b"B", "txt/tue/0.txt": b"none", "txt/mon/1.txt": b"b"},
        TEXTS,
        {"train none": None, "train b": b"B"},
    ),
    "a speaker of Kaldi's": (
        {
            "train/text": b"a one\nb two\n",
            "train/wav.scp": b"a /corpus/ann/1.wav\nb /corpus/bob/1.wav\n",
            "bob/1.wav": b"B",
        },
        KALDI,
        {"train one": None, "train two": b"B"},
    ),
    "nothing, but the table's folder has clips": (
        {
            "wavs/1.wav": b"A",
            "train.csv": b"path,text\nwavs/1.wav,root\n",
            "extra/wavs/9.wav": b"B",
            "extra/train.csv": b"path,text\nwavs/1.wav,extra one\nwavs/9.wav,extra nine\n",
        },
        SPEC,
        {"train root": b"A", "train extra one": None, "train extra nine": b"B"},
    ),
}


@pytest.mark.parametrize("lacking", PARTIAL)
def test_a_row_whose_clip_is_not_there_gets_none(tmp_path: Path, lacking: str) -> None:
    """Not the clip of the same name that another row, another folder or another split has."""
    files, spec, expected = PARTIAL[lacking]

    assert pairs(tmp_path, files, spec) == expected


WHOLE: Mapping[str, tuple[Files, TableSpec, Pairs]] = {
    "folders of another machine": (
        {
            "train.csv": table("/home/ann/c/wav/0.wav", "/home/ann/c/wav/1.wav"),
            "x/wav/0.wav": b"A",
            "x/wav/1.wav": b"B",
        },
        SPEC,
        {"train 0": b"A", "train 1": b"B"},
    ),
    "some of another machine, some not": (
        {"train.csv": table("/home/ann/c/wav/0.wav", "wav/1.wav"), "wav/0.wav": b"A", "wav/1.wav": b"B"},
        SPEC,
        {"train 0": b"A", "train 1": b"B"},
    ),
    "each table of another machine": (
        {
            "train.csv": table("/home/ann/c/wav/0.wav"),
            "test.csv": table("D:\\wav\\1.wav"),
            "wav/0.wav": b"A",
            "wav/1.wav": b"B",
        },
        SPEC,
        {"train 0": b"A", "test 0": b"B"},
    ),
    "a folder that no table names": (
        {"meta/train.csv": table("0.wav"), "meta/test.csv": table("1"), "clips/0.wav": b"A", "clips/1.wav": b"B"},
        SPEC,
        {"train 0": b"A", "test 0": b"B"},
    ),
    "archives that are called like tables": (
        {
            "train.csv": table("0.wav"),
            "test.csv": table("1.wav"),
            "train.zip": zip_of({"0.wav": b"A"}),
            "test.zip": zip_of({"1.wav": b"B"}),
        },
        SPEC,
        {"train 0": b"A", "test 0": b"B"},
    ),
    "two trees": (
        {f"{tree}/{day}/0.{tree}": f"{day}".encode() for tree in ("wav", "txt") for day in ("mon", "tue")},
        TEXTS,
        {"train mon": b"mon", "train tue": b"tue"},
    ),
    "a name of other letters": (
        {"train.csv": table("\u00e9.wav", "\u0e01\u0e33.wav"), "e\u0301.wav": b"A", "\u0e01\u0e4d\u0e32.wav": b"B"},
        SPEC,
        {"train 0": b"A", "train 1": b"B"},
    ),
}


@pytest.mark.parametrize("layout", WHOLE)
def test_what_is_certain_is_found(tmp_path: Path, layout: str) -> None:
    """Folders of another machine in front; folders that a row says nothing of, where nobody else does."""
    files, spec, expected = WHOLE[layout]

    assert pairs(tmp_path, files, spec) == expected


@pytest.mark.parametrize("packing", PACKED)
def test_the_listing_agrees_in_every_packing(tmp_path: Path, packing: str) -> None:
    """Whatever is lacking there."""
    assert pairs(tmp_path, PACKED[packing]())["train x7"] is None


def test_a_name_that_ten_thousand_clips_have_is_found_in_its_folder(tmp_path: Path) -> None:
    """By the folder that the row or its table is in."""
    many = {f"u{number:05}/audio.wav": b"x" for number in range(10_060)}
    files = {f"c/{name}": content for name, content in many.items()} | {"c/u10055/audio.wav": b"A"}
    rows = b"path,text\n/data/c/u10055/audio.wav,by path\nc/u10056/audio,by folder\nu99999/audio,none\n"
    packed = {"z.zip": zip_of({**files, "train.csv": rows, "c/u10057/t.csv": b"path,text\naudio,beside\n"})}

    found = pairs(tmp_path, packed)

    assert found == {"train by path": b"A", "train by folder": b"x", "train none": None, "train beside": b"x"}


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        ([], (0, 0)),
        (["a.wav"], (0, 0)),
        (["x/y/a.wav", "x/z/a.wav"], (0, 1)),
        (["x/y/a.wav", "x/y/b.wav"], (0, 2)),
        (["x/y/a.wav", "b.wav"], (0, 0)),
        (["b.wav", "x/y/a.wav"], (0, 0)),
        (["x/y/z/a.wav", "x/y/a.wav", ""], (0, 2)),
        (["/x/y/a.wav", "x/a.wav", "\\X\\y\\b.wav"], (2, 1)),
    ],
)
def test_folders_that_all_names_share(names: list[str], shared: tuple[int, int]) -> None:
    """Those of absolute paths and of others apart."""
    found = SharedFolders.of(names)

    assert (found.absolute, found.relative) == shared
