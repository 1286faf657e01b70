"""Links in an archive of the user's: one that names a member is that member, all others are rejects that say why."""

import io
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.run.run import RunResult
from processors.base_processor import ProcessorConfig
from tests.mirrors import clips_of, opener
from tests.processors.test_own_sources import load, source
from tests.small_runs import StopAfter, small_run
from tests.support import published_rows, tone, tree
from utils.choices import Dedup
from utils.rows.schema import START
from utils.sources.source_files import SourceAccess, SourceChanged

Member = tuple[str, bytes | str]
"""(name, content; or of a link, what it leads to)."""


def tar_with(mode: str, hard: bool) -> Callable[[Sequence[Member]], bytes]:
    """A tar whose links are of one kind: a hard link says a path from the archive's root."""

    def packed(members: Sequence[Member]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
            for name, content in members:
                member = tarfile.TarInfo(name)
                if isinstance(content, bytes):
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                else:
                    member.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
                    member.linkname = from_root(name, content) if hard else content
                    archive.addfile(member)
        return buffer.getvalue()

    return packed


def from_root(name: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def zip_with(members: Sequence[Member]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = (0o644 | (stat.S_IFREG if isinstance(content, bytes) else stat.S_IFLNK)) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


KINDS = {
    "c.tar": tar_with("w", hard=False),
    "h.tar": tar_with("w", hard=True),
    "c.tar.gz": tar_with("w:gz", hard=False),
    "h.tgz": tar_with("w:gz", hard=True),
    "c.zip": zip_with,
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def table(*names: str) -> Member:
    return "train.csv", ("file,text\n" + "".join(f"{name},ข้อ {name}\n" for name in names)).encode()


def read(machine: Path, kind: str, members: Sequence[Member], stop: Any = None, **options: Any) -> RunResult:
    if not (machine / kind).exists():
        (machine / kind).write_bytes(KINDS[kind](members))
    own = load(machine, source(kind, "splits: {train: train.csv}"))
    chosen = {"sources": ("MyCorpus",), "own_sources": own, "source_dir": None, "dedup": Dedup.OFF, **options}
    return small_run(machine, stop, **chosen)


def published(machine: Path) -> dict[str, str]:
    """Key of each clip -> what its audio is, in words."""
    rows = published_rows(machine / "out").to_pylist()
    return {row["source_id"].removeprefix("MyCorpus/train/"): row["audio_hash"] for row in rows}


def rejected(machine: Path) -> dict[str, str]:
    paths = (machine / "out").rglob("rejected/**/*.parquet")
    rows = [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]
    return {row["source_id"].removeprefix("MyCorpus/train/"): row["detail"] for row in rows}


def hashes(machine: Path, *numbers: int) -> list[str]:
    """What those tones are called when they are published."""
    folder = machine / "tones"
    folder.mkdir()
    names = [f"{number}.wav" for number in numbers]
    read(folder, "c.zip", [*((name, tone(number)) for name, number in zip(names, numbers, strict=True)), table(*names)])
    return list(published(folder).values())


GOOD: list[Member] = [
    ("c/early.wav", "sub/b.wav"),
    ("c/a.wav", tone(1)),
    ("c/late.wav", "a.wav"),
    ("c/chain.wav", "./late.wav"),
    ("c/sub/up.wav", "../early.wav"),
    ("c/sub/b.wav", tone(2)),
    ("c/through.wav", "linked/b.wav"),
    ("c/linked", "sub"),
]
GOOD_NAMES = [name for name, _ in GOOD if name.endswith(".wav")]


def test_a_link_to_a_member_is_that_member_under_its_own_name(tmp_path: Path, kind: str) -> None:
    """Whether the member comes before or behind it, by a link of a link, and through a folder that is one."""
    result = read(tmp_path, kind, [*GOOD, table(*GOOD_NAMES)])

    one, two = hashes(tmp_path, 1, 2)
    assert not result.failures
    assert published(tmp_path) == {
        **dict.fromkeys(("c/a", "c/late", "c/chain"), one),
        **dict.fromkeys(("c/early", "c/sub/up", "c/sub/b", "c/through"), two),
    }
    assert rejected(tmp_path) == {}


def test_links_that_name_no_member_are_rejects_that_say_why(tmp_path: Path, kind: str) -> None:
    """Nothing of this machine is looked at, and every row is told of."""
    bad: list[Member] = [
        ("c/out.wav", "../../secret.wav"),
        ("c/absolute.wav", "/secret.wav"),
        ("c/gone.wav", "gone/x.wav"),
        ("c/one.wav", "two.wav"),
        ("c/two.wav", "one.wav"),
        ("c/self.wav", "self.wav"),
        ("c/to_out.wav", "out.wav"),
        ("c/folder.wav", "."),
    ]
    (tmp_path / "secret.wav").write_bytes(tone(9))
    names = [name for name, _ in bad]

    read(tmp_path, kind, [*bad, ("c/a.wav", tone(1)), table("c/a.wav", *names)])

    why = {key: detail.partition(" (")[2].rstrip(")") for key, detail in rejected(tmp_path).items()}
    out = "a link that leads out of the archive"
    absolute = "a link to secret.wav, which is not in the archive" if kind.startswith("h.") else out
    assert list(published(tmp_path)) == ["c/a"]
    assert why == {
        **dict.fromkeys(("c/out", "c/to_out"), out),
        "c/absolute": absolute,
        "c/gone": "a link to c/gone/x.wav, which is not in the archive",
        **dict.fromkeys(("c/one", "c/two", "c/self"), "a link that leads in a circle"),
        "c/folder": "a link to c, which is not in the archive",
    }


def test_clips_that_no_row_names_are_counted_links_and_members_alike(tmp_path: Path, kind: str) -> None:
    """A link that a row names says nothing of the member, nor the member of its links."""
    result = read(tmp_path, kind, [*GOOD, table("c/late.wav", "c/sub/b.wav")])

    assert sorted(published(tmp_path)) == ["c/late", "c/sub/b"]
    (progress,) = (progress for progress in result.splits.values() if progress.read)
    assert (progress.read, progress.unselected) == (7, 5)


def test_from_every_position_the_rest_is_read(tmp_path: Path, kind: str) -> None:
    """In the middle of the rows that one member serves, too; also where only a count is known."""
    members = [*GOOD, ("c/out.wav", "../../x.wav"), table(*GOOD_NAMES, "c/out.wav")]
    (tmp_path / kind).write_bytes(KINDS[kind](members))
    own = load(tmp_path, source(kind, "splits: {train: train.csv}"))["MyCorpus"]
    processor = own.processor_class()(ProcessorConfig(access=SourceAccess(cache_dir=tmp_path / "cache")))
    whole = list(processor.read("train", dict(START)))

    assert len(whole) == 8
    for number, clip in enumerate(whole, start=1):
        assert clip.position["index"] == number
        for position in (clip.position, {"index": number}):
            assert list(processor.read("train", position)) == whole[number:]


def test_stopped_and_resumed_it_ends_at_the_same_bytes(tmp_path: Path, kind: str) -> None:
    """Published in parts, with a stop every few clips."""
    members = [*GOOD, ("c/out.wav", "../../x.wav"), table(*GOOD_NAMES, "c/out.wav")]
    read(tmp_path, kind, members, output=tmp_path / "undisturbed")
    stops = 0
    apart = 11 if kind.endswith("gz") else 3  # there it is asked at each member that is passed over
    while read(tmp_path, kind, members, StopAfter(apart), resume=stops > 0).interrupted:
        stops += 1
        assert stops < 30, "it reads the same clips again and again"

    ours, undisturbed = (tree(tmp_path / name, "data", "rejected") for name in ("out", "undisturbed"))
    assert ours == undisturbed
    assert stops >= 1


def test_a_table_that_is_a_link_stops_the_source(tmp_path: Path, kind: str) -> None:
    """It was read as an empty one, or as damage."""
    members: list[Member] = [("tables/all.txt", table("a.wav")[1]), ("a.wav", tone(1)), ("train.csv", "tables/all.txt")]

    (failure,) = read(tmp_path, kind, members).failures.values()

    assert "train.csv is a link to tables/all.txt" in failure and "put the table itself there" in failure


def test_a_store_of_contents_is_linked_to_where_it_can_be_jumped_to(tmp_path: Path, kind: str) -> None:
    """As the Hub's cache has them: in a tar.gz only what is named like a clip is counted, so there it is a reject."""
    members: list[Member] = [("blobs/9d8c", tone(3)), ("s/a.wav", "../blobs/9d8c"), table("s/a.wav")]

    read(tmp_path, kind, members)

    if kind.endswith(("gz", "tgz")):
        assert "which is not named like a clip" in rejected(tmp_path)["s/a"]
    else:
        assert list(published(tmp_path)) == ["s/a"]


def test_a_position_of_another_order_is_refused(tmp_path: Path) -> None:
    """A program that read a link where it stands: behind its position the link's row would come no more, or again."""
    (tmp_path / "c.tgz").write_bytes(KINDS["c.tar.gz"]([*GOOD, table(*GOOD_NAMES)]))
    own = load(tmp_path, source("c.tgz", "splits: {train: train.csv}"))["MyCorpus"]
    processor = own.processor_class()(ProcessorConfig(access=SourceAccess(cache_dir=tmp_path / "cache")))

    with pytest.raises(SourceChanged, match="begun by another version"):
        list(processor.read("train", {"index": 2, "file": "c.tgz", "member": 2}))


def test_a_link_in_a_source_of_a_layout_of_its_own_is_a_reject_that_says_so(tmp_path: Path) -> None:
    """Such sources are read once, forwards, and have none."""
    packed = KINDS["c.tar.gz"]([("0/0/a.wav", tone(1)), ("0/0/b.wav", "a.wav")])
    files = {"data/th/train/0.tar.gz": packed, "data/th/train_refined.tsv": b"a\tone\nb\ttwo\n"}

    clips = clips_of(opener(tmp_path)("GigaSpeech2", files))

    assert [clip.key for clip in clips] == ["a", "b"]
    assert (clips[1].audio, clips[1].audio_name) == (
        None,
        "b.wav (a link to a.wav, which this source is not known to have)",
    )
