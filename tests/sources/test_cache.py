"""The cache of source files: downloads that go on, a bound that holds, and nothing deleted that isn't ours."""

import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.hub_sources import (
    ARCHIVE,
    ARCHIVE_BYTES,
    REPO,
    TABLE,
    access,
    all_files,
    bytes_sent,
    downloads,
    make_source,
    noise,
)
from utils.errors import Interrupted, SourceError, Stopped
from utils.sources.hub import Patience
from utils.sources.source_files import SourceAccess, SourceFiles, clear_cache, open_source

PARTS = {f"data/{number}.tar.gz": noise(number, 100_000) for number in range(4)}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with one public source of a large file, where `HF_ENDPOINT` points."""
    with HubServer(tmp_path / "hub") as server:
        server.add_dataset(REPO, make_source(tmp_path / "source"))
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def parts(hub: HubServer, tmp_path: Path) -> HubServer:
    """The same Hub, its source being four files of 100,000 bytes."""
    shutil.rmtree(tmp_path / "source")
    hub.add_dataset(REPO, make_source(tmp_path / "source", PARTS))
    return hub


def opened(way: SourceAccess) -> SourceFiles:
    """The source, as a run that has just begun opens it."""
    return open_source(REPO, REPO, way, None)


def read(files: SourceFiles, name: str = ARCHIVE) -> bytes:
    """A file of the source, whole."""
    with files.open(name) as file:
        return file.read()


def cached_names(cache: Path) -> set[str]:
    """The names of the whole files in the cache."""
    return {path.name for path in all_files(cache) if ".partial" not in path.parts and path.name[0] != "."}


def test_a_cached_file_is_downloaded_once(hub: HubServer, tmp_path: Path) -> None:
    """The second reading, in this run or another, costs no request for it; the file lies under its own name."""
    way = access(tmp_path / "cache")

    for _ in range(2):
        files = opened(way)
        assert [read(files), read(files)] == [noise(0, ARCHIVE_BYTES)] * 2

    assert len(downloads(hub)) == 1
    assert (tmp_path / "cache" / REPO / hub.head(REPO) / ARCHIVE).read_bytes() == noise(0, ARCHIVE_BYTES)


@pytest.mark.parametrize("action", ["reset_body", "cut_body"])
def test_a_download_goes_on_where_the_connection_broke(hub: HubServer, tmp_path: Path, action: str) -> None:
    """Within one run: what came is kept, the rest is asked for."""
    hub.fault(action, step="cdn", times=2)

    content = read(opened(access(tmp_path / "cache")))

    starts = [int(asked.removeprefix("bytes=").split("-")[0]) for asked in downloads(hub)]
    assert content == noise(0, ARCHIVE_BYTES)
    assert starts[0] == 0 < starts[1] < starts[2]


def test_a_download_goes_on_after_the_process_was_killed(hub: HubServer, tmp_path: Path) -> None:
    """`kill -9` in the middle of 6 GB: the next run asks for the bytes that are missing, and only for those."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from utils.sources.source_files import SourceAccess, open_source\n"
        "pieces = iter(range(20))\n"
        "def die():\n"
        "    return next(pieces, None) is None and os.kill(os.getpid(), 9)\n"
        f"way = SourceAccess(cache_dir=Path({str(tmp_path / 'cache')!r}), stop_requested=die)\n"
        f"open_source({REPO!r}, {REPO!r}, way, None).open({ARCHIVE!r})\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(Path(__file__).parents[2])], check=False, timeout=60)
    (partial,) = [path for path in all_files(tmp_path / "cache") if path.stat().st_size]
    kept = partial.stat().st_size

    content = read(opened(access(tmp_path / "cache")))

    assert run.returncode == -signal.SIGKILL
    assert content == noise(0, ARCHIVE_BYTES)
    assert kept > 100_000
    assert downloads(hub)[-1] == f"bytes={kept}-{ARCHIVE_BYTES - 1}"


def test_two_readers_of_one_file_download_it_once(hub: HubServer, tmp_path: Path) -> None:
    """The second waits for the first, in this process or another one, and then has the file too."""
    sources = [opened(access(tmp_path / "cache")) for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        contents = list(pool.map(read, sources))

    assert contents == [noise(0, ARCHIVE_BYTES)] * 2
    assert bytes_sent(hub) == ARCHIVE_BYTES


def test_a_damaged_part_is_not_believed(hub: HubServer, tmp_path: Path) -> None:
    """What a power cut may leave (a tail of zeros) is found by the SHA-256, and the file fetched anew."""
    way = access(tmp_path / "cache")
    partial = tmp_path / "cache" / REPO / hub.head(REPO) / ".partial" / ARCHIVE
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(2_000_000))

    assert read(opened(way)) == noise(0, ARCHIVE_BYTES)
    assert bytes_sent(hub) == ARCHIVE_BYTES + ARCHIVE_BYTES - 2_000_000
    assert all_files(partial.parent) == []


def test_a_cut_file_in_the_cache_is_not_believed(hub: HubServer, tmp_path: Path) -> None:
    """A cached file of another size than the Hub says is downloaded again."""
    way = access(tmp_path / "cache")
    read(opened(way))
    (tmp_path / "cache" / REPO / hub.head(REPO) / ARCHIVE).write_bytes(b"cut")

    assert read(opened(way)) == noise(0, ARCHIVE_BYTES)


def test_a_stop_during_a_download_keeps_what_is_there(hub: HubServer, tmp_path: Path) -> None:
    """Ctrl-C does not wait for 6 GB, and the next run does not begin them again."""
    with pytest.raises(Interrupted, match="what is here is kept"):
        read(opened(access(tmp_path / "cache", stop_requested=lambda: True)))

    assert read(opened(access(tmp_path / "cache"))) == noise(0, ARCHIVE_BYTES)
    assert not downloads(hub)[-1].startswith("bytes=0-")


def test_the_least_recently_used_file_makes_room(parts: HubServer, tmp_path: Path) -> None:
    """With room for three, the fourth takes the place of the one that was not read for longest."""
    files = opened(access(tmp_path / "cache", max_cache_bytes=300_000))
    for name in ("data/0.tar.gz", "data/1.tar.gz", "data/2.tar.gz", "data/0.tar.gz", "data/3.tar.gz"):
        assert read(files, name) == PARTS[name]

    assert cached_names(tmp_path / "cache") == {"0.tar.gz", "2.tar.gz", "3.tar.gz"}
    assert sum(path.stat().st_size for path in all_files(tmp_path / "cache")) <= 300_000


def test_an_open_file_is_never_taken_away(parts: HubServer, tmp_path: Path) -> None:
    """Neither from this reader nor from another run; where only open files are left, the bound is too small."""
    files = opened(access(tmp_path / "cache", max_cache_bytes=200_000))
    with files.open("data/0.tar.gz") as held:
        read(files, "data/1.tar.gz")
        read(files, "data/2.tar.gz")
        assert cached_names(tmp_path / "cache") == {"0.tar.gz", "2.tar.gz"}
        with files.open("data/2.tar.gz"), pytest.raises(SourceError, match="beside the files in use"):
            files.open("data/3.tar.gz")
        assert held.read() == PARTS["data/0.tar.gz"]

    assert read(files, "data/3.tar.gz") == PARTS["data/3.tar.gz"]


def test_a_file_larger_than_the_cache_names_the_options(hub: HubServer, tmp_path: Path) -> None:
    """Said before anything is downloaded or deleted."""
    files = opened(access(tmp_path / "cache", max_cache_bytes=1_000_000))

    with pytest.raises(SourceError, match=r"--max-cache-gb.*--streaming") as raised:
        files.open(ARCHIVE)

    assert raised.value.exit_code == 4
    assert downloads(hub) == []


def test_a_full_disk_stops_before_the_download(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is not filled to the last byte under the staging's feet: exit code 5, and what to do."""
    disk = namedtuple("disk", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(10**9, 10**9 - 10**6, 10**6))

    with pytest.raises(Stopped, match=r"no room for.*--streaming") as raised:
        read(opened(access(tmp_path / "cache")))

    assert raised.value.exit_code == 5
    assert downloads(hub) == []


def test_a_failed_download_leaves_no_file_under_its_name(hub: HubServer, tmp_path: Path) -> None:
    """A file has its name only when it is whole."""
    hub.fault("cut_body", step="cdn", times=1)
    hub.fault("lost_before", step="cdn", times=None)

    with pytest.raises(SourceError, match="could not be reached"):
        read(opened(access(tmp_path / "cache", patience=Patience(tries=3, first_wait_s=0.001))))

    assert cached_names(tmp_path / "cache") == set()


def test_clearing_the_cache_deletes_ours_and_nothing_else(hub: HubServer, tmp_path: Path) -> None:
    """Files that we did not put there stay, and the bytes freed are told."""
    cache = tmp_path / "cache"
    make_source(cache, {"someone/else/0123/data.parquet": b"not ours", "notes.txt": b"not ours"})
    read(opened(access(cache)))

    assert clear_cache(cache) == ARCHIVE_BYTES

    assert {path.name for path in all_files(cache)} == {"data.parquet", "notes.txt"}
    assert clear_cache(cache) == 0


def test_clearing_the_cache_follows_no_link(hub: HubServer, tmp_path: Path) -> None:
    """Not even to another cache of ours: what lies outside the folder is not this folder's."""
    cache, outside = tmp_path / "cache", tmp_path / "outside"
    read(opened(access(outside)))
    read(opened(access(cache)))
    (cache / "linked").symlink_to(outside / REPO.partition("/")[0])
    (cache / REPO / hub.head(REPO) / "linked").symlink_to(outside / REPO)

    assert clear_cache(cache) == ARCHIVE_BYTES

    assert cached_names(outside) == {Path(ARCHIVE).name}


def test_clearing_leaves_no_empty_folders_of_ours(hub: HubServer, tmp_path: Path) -> None:
    """And a cache that never was is no error."""
    assert clear_cache(tmp_path / "cache") == 0
    read(opened(access(tmp_path / "cache")))

    clear_cache(tmp_path / "cache")

    assert not any((tmp_path / "cache").iterdir())


def test_clearing_spares_what_is_being_read(parts: HubServer, tmp_path: Path) -> None:
    """A run that is reading goes on undisturbed; the rest is freed."""
    files = opened(access(tmp_path / "cache"))
    read(files, "data/0.tar.gz")
    with files.open("data/1.tar.gz"):
        assert clear_cache(tmp_path / "cache") == 100_000

    assert cached_names(tmp_path / "cache") == {"1.tar.gz"}
    assert clear_cache(tmp_path / "cache") == 100_000


def test_a_cache_folder_that_cannot_be_used_is_an_error(hub: HubServer, tmp_path: Path) -> None:
    """A file in its place, for one: the folder is named, and the way without it."""
    (tmp_path / "cache").write_bytes(b"")

    with pytest.raises(SourceError, match=f"{tmp_path / 'cache'} can't be used.*--streaming"):
        read(opened(access(tmp_path / "cache")))


OTHERS = {
    "other bytes": b"0-1-2\tsawasdeX\n",
    "a page, cut to its length": b"<html>\nlog in\n"[:15].ljust(15),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("times", [1, None])
@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_a_table_that_comes_with_other_bytes_is_not_used(
    hub: HubServer, tmp_path: Path, content: bytes, times: int | None, streaming: bool
) -> None:
    """Git's name for its bytes is in the listing: a page of a portal, or a wrong copy of the very length, is met."""
    rule = hub.fault("status", step="resolve", method="GET", status=200, body=content.decode(), times=times)
    files = opened(access(tmp_path / "cache", streaming=streaming))

    if times:
        assert read(files, TABLE) == b"0-1-2\tsawasdee\n"
    else:
        with pytest.raises(SourceError, match="came damaged twice"):
            read(files, TABLE)

    assert rule.struck == (times or 2)
    assert TABLE.rpartition("/")[2] not in cached_names(tmp_path / "cache") or times


def test_a_cached_table_that_was_changed_is_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    """It is held against its name whenever it is opened."""
    way = access(tmp_path / "cache")
    whole = read(opened(way), TABLE)
    (cached,) = (path for path in all_files(tmp_path / "cache") if path.name == "dev.tsv")
    cached.write_bytes(whole.replace(b"0-1-2", b"0-1-3"))

    assert read(opened(way), TABLE) == whole
    assert cached.read_bytes() == whole
