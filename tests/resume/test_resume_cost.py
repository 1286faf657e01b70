"""What a resume costs: what it reads again of a source is counted, and does not grow with what was read before."""

import gzip
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zlib_ng import zlib_ng

from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.run.factory import make_target
from pipeline.run.run import RunResult, run
from pipeline.terminal.report import summary
from processors.engine.run_side import RunFacts
from processors.readers import tar as tars
from processors.readers.parquet import read_parquet
from processors.readers.spec import Columns
from tests.crash.oracle import differences
from tests.hub_server import HubServer
from tests.hub_sources import access, downloads
from tests.mirrors import opener
from tests.small_runs import StopWhen
from tests.support import tone, tree
from utils.dataset.layout import PREVIOUS_STATE_PATH
from utils.errors import SourceError
from utils.formats import gzip_stream
from utils.formats.deflate_blocks import BlockStart, entered, find_block
from utils.formats.gzip_stream import GzipPlace, GzipStream
from utils.formats.seek_points import SeekPoint, SeekPoints, from_text, newest, to_text
from utils.rows.schema import AUDIO_TYPE, START, RawClip
from utils.sources.source_files import MirrorFiles, open_source
from utils.upload.publisher import begun_state
from utils.upload.staging import KEPT_SEEK_POINT

SPACING_BYTES = 256 * 1024
CLIPS = 120
CLIP_BYTES = 32_044
"""A second of noise."""
SOURCE = "GigaSpeech2"
REPO = "speechcolab/gigaspeech2"
ARCHIVE = "data/th/train/0.tar.gz"
AGAIN_BYTES = SPACING_BYTES + 4 * 64 * 1024 + CLIP_BYTES
"""From a seek point to any clip, at most: the spacing, the pieces a place is looked for in, and the clip."""


@pytest.fixture(autouse=True)
def close_seek_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_stream, "SPACING_BYTES", SPACING_BYTES)


# --- places in gzip files ------------------------------------------------------------------------


def speechlike(seed: int, size_bytes: int) -> bytes:
    """Bytes that pack to about two thirds."""
    return bytes(Random(seed).choices(range(60), k=size_bytes))


def deflated(content: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY, flush_every: int = 0) -> bytes:
    """A gzip file of one member."""
    packer = zlib.compressobj(level, zlib.DEFLATED, 31, 8, strategy)
    step = flush_every or len(content)
    pieces = (
        packer.compress(content[at : at + step]) + flushed(packer, flush_every) for at in range(0, len(content), step)
    )
    return b"".join(pieces) + packer.flush()


def flushed(packer: Any, flush_every: int) -> bytes:
    return packer.flush(zlib.Z_SYNC_FLUSH) if flush_every else b""


CONTENT = speechlike(0, 2_500_000)
PACKED: dict[str, Callable[[], bytes]] = {
    "level 1": lambda: deflated(CONTENT, 1),
    "level 6": lambda: deflated(CONTENT),
    "level 9": lambda: deflated(CONTENT, 9),
    "without matches": lambda: deflated(CONTENT, strategy=zlib.Z_HUFFMAN_ONLY),
    "not packable": lambda: deflated(Random(1).randbytes(2_500_000)),
    "flushed in between": lambda: deflated(CONTENT, flush_every=50_000),
    "members": lambda: b"".join(gzip.compress(CONTENT[at : at + 100_000]) for at in range(0, len(CONTENT), 100_000)),
    "members with padding": lambda: gzip.compress(CONTENT[:700_000]) + bytes(90_000) + gzip.compress(CONTENT[700_000:]),
    "silence": lambda: deflated(bytes(30_000_000) + CONTENT),
}


def read_all(packed: bytes, place: GzipPlace | None = None) -> tuple[bytes, list[GzipPlace]]:
    stream = GzipStream(io.BytesIO(packed), place)
    pieces, places = [], []
    while piece := stream.read(50_000):
        pieces.append(piece)
        places += stream.found
        stream.found.clear()
    return b"".join(pieces), places


@pytest.mark.parametrize("make", PACKED.values(), ids=PACKED)
def test_reading_goes_on_from_every_place_with_the_same_bytes_and_places(make: Callable[[], bytes]) -> None:
    """However the file was packed: what comes from a place on is what came the first time, its checksum checked."""
    packed = make()

    content, places = read_all(packed)

    assert content == gzip.decompress(packed)
    assert len(places) >= 0.8 * (len(packed) // SPACING_BYTES - 1) > 0
    for number, place in enumerate(places):
        assert read_all(packed, place) == (content[place.unpacked_at :], places[number + 1 :])


def test_a_block_is_entered_at_any_bit() -> None:
    """A block begins at any bit of a byte; eight kinds of filling lead to one."""
    packed = deflated(CONTENT)[10:-8]
    inflater = zlib.decompressobj(-15)
    window, bits = b"", set()
    for at in range(0, len(packed), 2**15):
        piece = packed[at : at + 2**15]
        unpacked = inflater.decompress(piece)
        if found := find_block(piece, unpacked, window):
            bits.add(found[0].bit)
        window = (window + unpacked)[-(2**15) :]

    assert bits == set(range(8))
    for bit in range(8):
        inflater, first = entered(BlockStart(0, bit, False), 0b11 << bit & 0xFF, b"")
        assert inflater.decompress(first) == b""  # what is filled in is nothing, and no damage


def test_damage_behind_a_place_is_seen_as_ever() -> None:
    """The checksum at the end is held against what was read and what was not."""
    packed = deflated(CONTENT)
    _, places = read_all(packed)

    for wrong in (packed[:-6] + b"\0" + packed[-5:], packed[:-1] + b"\1", packed[:-1], packed[: len(packed) * 7 // 8]):
        with pytest.raises((zlib.error, EOFError)) as from_start:
            read_all(wrong)
        with pytest.raises((zlib.error, EOFError)) as from_place:
            read_all(wrong, places[1])
        assert (type(from_place.value), str(from_place.value)) == (type(from_start.value), str(from_start.value))


def test_a_file_that_has_other_bytes_there_is_not_entered() -> None:
    packed = deflated(CONTENT)
    _, places = read_all(packed)
    at = places[0].packed_at + 100
    other = packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]

    with pytest.raises(gzip_stream.NotThere):
        GzipStream(io.BytesIO(other), places[0])
    with pytest.raises(gzip_stream.NotThere):
        GzipStream(io.BytesIO(packed[:1000]), places[0])


def test_places_cost_a_bounded_number_of_searches_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of fixed codes has no blocks to be seen: after a few tries nobody looks any more."""
    searched: list[int] = []

    def counted(packed: bytes, unpacked: bytes, window: bytes) -> Any:
        searched.append(len(packed))
        return find_block(packed, unpacked, window)

    monkeypatch.setattr(gzip_stream, "find_block", counted)

    content, places = read_all(deflated(speechlike(2, 4_000_000), strategy=zlib.Z_FIXED))

    assert (len(content), places) == (4_000_000, [])
    assert sum(searched) <= 3 * 4 * 64 * 1024


def test_what_looks_like_a_header_everywhere_costs_a_bounded_number_of_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream can be made of nothing but headers: a few of them are tried."""
    tried: list[int] = []
    decompressobj = zlib_ng.decompressobj
    monkeypatch.setattr(
        zlib_ng, "decompressobj", lambda *given, **more: tried.append(1) or decompressobj(*given, **more)
    )

    find_block(bytes.fromhex("00000000ffff") * 10_000, bytes(60_000), b"")

    assert 4 <= len(tried) <= 1000 + 2 * 4


# --- seek points in archives ---------------------------------------------------------------------


def noise_wav(number: int) -> bytes:
    head = tone(0)[:44]
    return (
        head[:4]
        + (CLIP_BYTES - 8).to_bytes(4, "little")
        + head[8:40]
        + (32_000).to_bytes(4, "little")
        + b"".join(
            sample.to_bytes(2, "little", signed=True) for sample in Random(number).choices(range(-2000, 2000), k=16_000)
        )
    )


def archive(clips: range, pax_global: bool = False) -> bytes:
    buffer = io.BytesIO()
    headers = {"comment": "for all"} if pax_global else None
    with tarfile.open(fileobj=buffer, mode="w", pax_headers=headers) as tar:
        for number in clips:
            for name in (f"0/{number}.txt", f"0/0-0-{number}.wav"):
                content = noise_wav(number) if name.endswith(".wav") else b"beside"
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return deflated(buffer.getvalue())


@pytest.fixture(scope="module")
def packed() -> bytes:
    return archive(range(CLIPS))


@pytest.fixture
def files(tmp_path: Path, packed: bytes) -> MirrorFiles:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/0.tar.gz").write_bytes(packed)
    return MirrorFiles(tmp_path / "mirror")


def clips_from(files: MirrorFiles, position: dict[str, Any], points: SeekPoints) -> Iterator[RawClip]:
    return tars.read_tars(files, ["0.tar.gz"], position, lambda key: key, lambda: None, points)


def points_of(files: MirrorFiles) -> tuple[list[RawClip], list[SeekPoint]]:
    points = SeekPoints(most=100)
    return list(clips_from(files, dict(START), points)), points.taken(CLIPS)


def test_a_resume_enters_an_archive_at_the_seek_point_before_its_position(
    files: MirrorFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From every position: the very same clips, few bytes read again, few members passed over."""
    clips, points = points_of(files)
    assert len(points) >= files.size_bytes("0.tar.gz") // SPACING_BYTES - 2
    looked_at: list[str] = []
    is_audio = tars.is_audio
    monkeypatch.setattr(tars, "is_audio", lambda member: looked_at.append(member.name) or is_audio(member))

    for done in range(points[0].index, CLIPS):
        kept = [point for point in points if point.index <= done]
        looked_at.clear()
        before = files.bytes_read
        reading = clips_from(files, clips[done - 1].position, SeekPoints(lambda index, kept=kept: kept[-1]))  # type: ignore[misc]
        assert next(reading) == clips[done]
        assert files.bytes_read - before <= AGAIN_BYTES
        assert len(looked_at) <= 2 * AGAIN_BYTES / (0.7 * CLIP_BYTES)
        reading.close()


def test_seek_points_lead_to_all_that_follows_and_are_found_again(files: MirrorFiles) -> None:
    """Entered in its middle, an archive ends as it ends, and the seek points behind are those of a whole reading."""
    clips, points = points_of(files)

    for number, point in enumerate(points):
        again = SeekPoints(lambda index, point=point: point, most=100)  # type: ignore[misc]
        position = clips[point.clips - 1].position
        assert list(clips_from(files, position, again)) == clips[point.clips :]
        assert again.taken(CLIPS) == points[number + 1 :]


def another_member(point: SeekPoint) -> SeekPoint:
    return SeekPoint(**{**vars(point), "header": "0" * 32})


def another_offset(point: SeekPoint) -> SeekPoint:
    return SeekPoint(**{**vars(point), "header_at": point.header_at + 512})


def another_checksum(point: SeekPoint) -> SeekPoint:
    return SeekPoint(**{**vars(point), "place": GzipPlace(**{**vars(point.place), "crc": point.place.crc ^ 1})})


def another_window(point: SeekPoint) -> SeekPoint:
    return SeekPoint(**{**vars(point), "place": GzipPlace(**{**vars(point.place), "window": b""})})


def another_bit(point: SeekPoint) -> SeekPoint:
    return SeekPoint(**{**vars(point), "place": GzipPlace(**{**vars(point.place), "bit": (point.place.bit + 1) % 8})})


@pytest.mark.parametrize("wrong", [another_member, another_offset, another_checksum, another_window, another_bit])
def test_a_seek_point_is_never_believed_over_the_archive(
    files: MirrorFiles, wrong: Callable[[SeekPoint], SeekPoint]
) -> None:
    """One that leads astray costs time: the archive is read from its start, no clip lost or twice."""
    clips, points = points_of(files)
    point = points[2]
    before = files.bytes_read

    found = list(clips_from(files, clips[point.clips - 1].position, SeekPoints(lambda index: wrong(point))))

    assert found == clips[point.clips :]
    assert files.bytes_read - before >= files.size_bytes("0.tar.gz")


def test_a_damaged_archive_is_refused_in_the_same_words_wherever_it_was_entered(tmp_path: Path, packed: bytes) -> None:
    """What was damaged is the archive: the clips before the damage come, each once, and the message counts them all."""
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    for folder, content in ((whole, packed), (damaged, packed[: len(packed) * 9 // 10])):
        folder.mkdir()
        (folder / "0.tar.gz").write_bytes(content)
    clips, points = points_of(MirrorFiles(whole))

    def ending(position: dict[str, Any], points: SeekPoints) -> tuple[list[RawClip], str]:
        read = []
        with pytest.raises(SourceError) as error:
            for clip in clips_from(MirrorFiles(damaged), position, points):
                read.append(clip)  # noqa: PERF402
        return read, str(error.value)

    from_start, words = ending(dict(START), SeekPoints())
    entered_at = points[3]
    entered_there = ending(clips[entered_at.clips - 1].position, SeekPoints(lambda index: entered_at))

    assert entered_there == (from_start[entered_at.clips :], words)


def test_an_archive_with_headers_for_all_its_members_has_no_seek_points(tmp_path: Path) -> None:
    """Behind its first members they would be missing."""
    (tmp_path / "0.tar.gz").write_bytes(archive(range(40), pax_global=True))

    clips, points = points_of(MirrorFiles(tmp_path))

    assert (len(clips), points) == (40, [])


def test_seek_points_survive_being_written_and_nothing_else_is_taken_for_one(files: MirrorFiles) -> None:
    """A file of seek points that is damaged, of another revision, or not ours, holds none."""
    _, points = points_of(files)
    text = to_text(points, "r1")

    assert from_text(text, "r1") == points
    assert from_text(text, "r2") == []
    chance = Random(3)
    for _ in range(200):
        at = chance.randrange(len(text))
        assert from_text(text[:at] + bytes([text[at] ^ 1 << chance.randrange(7)]) + text[at + 1 :], "r1") == []
    for raw in (b"", b"[]", b"{}", b"\xff", text[:-20]):
        assert from_text(raw, "r1") == []


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"clips": 10**6},
        {"header_at": 0},
        {"members": "2"},
        {"place": None},
        {"place.window": "AAAA"},
        {"place.window": "!"},
        {"place.bit": 8},
        {"place.packed_at": -1},
        {"place.kind": "end"},
        {"place.more": 1},
    ],
)
def test_a_seek_point_that_none_of_ours_could_be_is_dropped(files: MirrorFiles, change: dict[str, Any]) -> None:
    """A checksum is easily made: each field is looked at."""
    _, (point, *_) = points_of(files)
    content = point.to_json()
    ((name, value),) = change.items()
    of = content["place"] if "." in name else content
    of[name.split(".")[-1]] = value

    with pytest.raises((ValueError, TypeError, KeyError, zlib.error)):
        SeekPoint.from_json(content)


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, packed: bytes) -> Path:
    folder = tmp_path_factory.mktemp("mirrors")
    small = gzip.compress(gzip.decompress(packed)[:0] + tarball_of_one())
    contents = {
        ARCHIVE: packed,
        **{f"data/th/{split}.tar.gz": small for split in ("dev", "test")},
        **{f"data/th/{split}.tsv": b"0-0-0\ta\n" for split in ("dev", "test")},
        "data/th/train_refined.tsv": b"".join(b"0-0-%d\tclip %d\n" % (number, number) for number in range(CLIPS)),
    }
    for name, content in contents.items():
        path = folder / REPO / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tarball_of_one() -> bytes:
    return gzip.decompress(archive(range(1)))


def options_of(machine: Path, mirror: Path | None, **options: Any) -> Options:
    places = {"output": machine / "out", "checkpoint_dir": machine / "checkpoints", "data_dir": machine / "data"}
    cuts = {"upload_batch_size": 25, "checkpoint_interval": 10, "quiet": True, "overlap": False}
    return Options(**{"fresh": True, "sources": (SOURCE,), "source_dir": mirror, **places, **cuts, **options})


def run_of(chosen: Options, stop: StopRequest | None = None) -> RunResult:
    stop = stop or StopRequest()
    return run(chosen, make_target(chosen, None, stop), None, stop)


def published(machine: Path, split: str = "train") -> int:
    """Clips of a split that the target holds."""
    path = machine / "out/.ingest/state.json"
    if not path.exists():
        return 0
    sources = json.loads(path.read_bytes())["sources"]
    return int(sources[SOURCE]["splits"][split]["published"]) if SOURCE in sources else 0


def stopped_when(machine: Path, mirror: Path | None, clips: int, **options: Any) -> RunResult:
    """A run that is stopped once it has published so many clips of train."""
    chosen = options_of(machine, mirror, **options)
    return run_of(chosen, StopWhen(lambda: published(machine) >= clips))


def dataset(machine: Path) -> dict[str, bytes]:
    files = tree(machine / "out", "data", "rejected", ".ingest")
    return {path: content for path, content in files.items() if path != PREVIOUS_STATE_PATH}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mirror: Path) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gzip_stream, "SPACING_BYTES", SPACING_BYTES)
        machine = tmp_path_factory.mktemp("undisturbed")
        assert run_of(options_of(machine, mirror)).read_again_bytes == 0
    return machine


def forget_segments(machine: Path) -> None:
    """As if all that was read were published: nothing is staged."""
    for segment in (machine / "data/staging").rglob("*.arrow"):
        segment.unlink()


def kept_point(machine: Path) -> Path:
    (folder,) = (machine / "data/staging").glob(f"*/{SOURCE}/train")
    return folder / KEPT_SEEK_POINT


@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize("overlap", [True, False])
def test_a_resumed_run_reads_little_again_and_publishes_the_same(
    tmp_path: Path, mirror: Path, undisturbed: Path, staged: bool, overlap: bool
) -> None:
    """From the segments of this machine, or from what it keeps where all is published: byte for byte the same.

    What is read ahead is not read again.
    """
    stopped_when(tmp_path, mirror, 75)
    if not staged:
        forget_segments(tmp_path)

    done = run_of(options_of(tmp_path, mirror, resume=True, overlap=overlap))

    table = (mirror / REPO / "data/th/train_refined.tsv").stat().st_size
    of_evaluation = 2 * (mirror / REPO / "data/th/dev.tar.gz").stat().st_size
    assert 0 < done.read_again_bytes <= AGAIN_BYTES + table + of_evaluation
    assert list(differences(dataset(tmp_path), dataset(undisturbed))) == []


def test_another_machine_reads_the_archive_from_its_start(
    tmp_path: Path, mirror: Path, undisturbed: Path, packed: bytes
) -> None:
    """The dataset tells of no place in an archive, as audio would have to stand beside it; the rows are the same."""
    stopped_when(tmp_path, mirror, 75)
    shutil.rmtree(tmp_path / "data")
    beside = {path.name for path in (tmp_path / "out/.ingest").iterdir()}

    done = run_of(options_of(tmp_path, mirror, resume=True))

    assert beside == {"state.json", "state.previous.json", "files.jsonl", "dedup"}
    assert done.read_again_bytes > len(packed) * 70 // CLIPS
    assert list(differences(dataset(tmp_path), dataset(undisturbed))) == []


def test_this_machine_keeps_the_seek_point_nearest_to_its_position(tmp_path: Path, mirror: Path, packed: bytes) -> None:
    """One for each split in the middle of an archive, whatever is published; none once it is read."""
    told_of = f"{MirrorFiles(mirror / REPO).revision} "
    stopped_when(tmp_path, mirror, 75)

    state = json.loads((tmp_path / "out/.ingest/state.json").read_bytes())
    position = state["sources"][SOURCE]["splits"]["train"]["progress"]["position"]
    (point,) = from_text(kept_point(tmp_path).read_bytes(), told_of)
    (tmp_path / "all").mkdir()
    (tmp_path / "all/0.tar.gz").write_bytes(packed)
    _, points = points_of(MirrorFiles(tmp_path / "all"))
    nearest = [one for one in points if one.clips <= position["member"]][-1]
    assert (point.clips, point.place) == (nearest.clips, nearest.place)

    path = kept_point(tmp_path)
    run_of(options_of(tmp_path, mirror, resume=True))
    assert not path.exists()


def test_a_damaged_seek_point_only_costs_reading(
    tmp_path: Path, mirror: Path, undisturbed: Path, packed: bytes
) -> None:
    """It is dropped, the archive is read from its start, which is counted, and the dataset is the same."""
    stopped_when(tmp_path, mirror, 75)
    forget_segments(tmp_path)
    path = kept_point(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])

    done = run_of(options_of(tmp_path, mirror, resume=True))

    assert done.read_again_bytes > len(packed) * 70 // CLIPS
    assert list(differences(dataset(tmp_path), dataset(undisturbed))) == []


def test_what_an_older_version_left_in_the_dataset_goes_with_the_next_commit(
    tmp_path: Path, mirror: Path, undisturbed: Path
) -> None:
    """A place in an archive with the content before it: audio that no removal of clips would reach."""
    stopped_when(tmp_path, mirror, 75)
    left = tmp_path / f"out/.ingest/seek-points/train/{SOURCE}.json"
    left.parent.mkdir(parents=True)
    shutil.copy(kept_point(tmp_path), left)

    run_of(options_of(tmp_path, mirror, resume=True))

    assert left.read_bytes() == b""
    left.unlink()
    assert list(differences(dataset(tmp_path), dataset(undisturbed))) == []


def test_a_streamed_archive_is_entered_in_its_middle(
    tmp_path: Path, mirror: Path, undisturbed: Path, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP ranges: what the Hub sends is what is left of the archive, and little more."""
    with HubServer(tmp_path / "hub") as hub:
        hub.add_dataset(REPO, mirror / REPO)
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        machine = tmp_path / "machine"
        stopped_when(machine, None, 75, streaming=True)
        forget_segments(machine)
        asked = len(downloads(hub))

        done = run_of(options_of(machine, None, streaming=True, resume=True))

        left = len(packed) * (CLIPS - 75) // CLIPS
        ranges = [map(int, span.removeprefix("bytes=").split("-")) for span in downloads(hub)[asked:]]
        assert left <= sum(last + 1 - first for first, last in ranges) <= left + AGAIN_BYTES + 10_000
        assert 0 < done.read_again_bytes <= AGAIN_BYTES + 2**20
    shards = {path: content for path, content in dataset(undisturbed).items() if not path.startswith(".ingest")}
    assert {path: content for path, content in dataset(machine).items() if path in shards} == shards


def test_a_streamed_parquet_file_is_entered_at_its_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the row groups before it no byte is asked for: the footer, and the group's pages up to the row."""
    clips = [{"bytes": Random(row).randbytes(40_000), "path": f"{row}.wav"} for row in range(200)]
    rows = [{"audio": clip, "sentence": "a"} for clip in clips]
    table = pa.Table.from_pylist(rows, schema=pa.schema([("audio", AUDIO_TYPE), ("sentence", pa.string())]))
    (tmp_path / "source").mkdir()
    pq.write_table(table, tmp_path / "source/0.parquet", row_group_size=10, compression="none", use_dictionary=False)
    group_bytes, size_bytes = 10 * 40_000, (tmp_path / "source/0.parquet").stat().st_size
    position = {"index": 175, "file": "0.parquet", "row_group": 17, "row": 5}
    with HubServer(tmp_path / "hub") as hub:
        hub.add_dataset("owner/name", tmp_path / "source")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        for way in (access(tmp_path / "cache", streaming=True), access(tmp_path / "cache", source_dir=tmp_path)):
            files = open_source("source" if way.source_dir else "owner/name", "owner/name", way, None)
            clip = next(read_parquet(files, ["0.parquet"], Columns(), position))
            assert clip.audio == clips[175]["bytes"]
            # Ahead of the row: what the network's and the file's buffers hold, a MB each at most.
            assert 0 < files.bytes_read <= group_bytes + 3 * 2**20 < size_bytes // 2


def test_an_archive_of_three_splits_is_entered_at_a_splits_seek_point(tmp_path: Path) -> None:
    """Common Voice, not extracted: one archive for all splits, each with seek points of its own."""
    root = "cv-corpus-25.0-2026-03-09/th"
    header = b"client_id\tpath\tsentence\n"
    rows = {split: [n for n in range(CLIPS) if n % 3 == part] for part, split in enumerate(("train", "dev", "test"))}
    contents = {f"{root}/clips/{number}.wav": noise_wav(number) for number in range(CLIPS)}
    for split, numbers in rows.items():
        contents[f"{root}/{split}.tsv"] = header + b"".join(b"me\t%d.wav\tclip %d\n" % (n, n) for n in numbers)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    processor = opener(tmp_path)(
        "MozillaCommonVoice", {"cv-corpus-25.0-2026-03-09-th.tar.gz": deflated(buffer.getvalue())}
    )
    points = SeekPoints(most=100)
    processor.facts = RunFacts(seek_points={"validation": points})
    clips = list(processor.read("validation", dict(START)))
    kept = points.taken(CLIPS)

    for done in range(kept[0].index, len(clips)):
        processor.facts = RunFacts(seek_points={"validation": SeekPoints(lambda index: newest(kept, index))})
        before = processor.files.bytes_read
        reading = processor.read("validation", clips[done - 1].position)
        assert next(reading) == clips[done]
        assert processor.files.bytes_read - before <= AGAIN_BYTES + 3 * CLIP_BYTES
        reading.close()


def test_the_summary_says_what_was_read_again() -> None:
    """Of a run that resumed; of one that began there is nothing to say."""
    state = begun_state(16_000)

    assert "read again: 12.3 MB" in summary(state, "out", {}, read_again_bytes=12_345_678).splitlines()
    assert "read again" not in summary(state, "out", {})
