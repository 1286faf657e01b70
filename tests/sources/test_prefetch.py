"""A source's next files are downloaded while one is read, and nothing depends on it."""

import shutil
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.hub_sources import REPO, access, all_files, downloads, make_source, noise
from utils.errors import SourceError
from utils.sources.prefetch import Prefetcher
from utils.sources.source_files import SourceFiles, open_source

PARTS = {f"data/{number}.tar.gz": noise(number, 300_000) for number in range(3)}
FIRST, SECOND, THIRD = PARTS


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        server.add_dataset(REPO, make_source(tmp_path / "source", PARTS))
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def files(hub: HubServer, tmp_path: Path) -> Iterator[SourceFiles]:
    """The source, as a run opens it that does all at the same time."""
    opened = open_source(REPO, REPO, access(tmp_path / "cache", fetch_ahead=True), None)
    yield opened
    opened.close()


def cached(tmp_path: Path, name: str) -> bool:
    return any(path.name == Path(name).name and ".partial" not in path.parts for path in all_files(tmp_path / "cache"))


def wait_until(reached: Callable[[], bool]) -> None:
    ticks = threading.Event()
    for _ in range(3000):
        if reached():
            return
        ticks.wait(0.01)
    raise AssertionError("it was never reached")


def read(files: SourceFiles, name: str) -> bytes:
    with files.open(name) as file:
        return file.read()


def test_the_next_file_is_there_when_it_is_opened(files: SourceFiles, hub: HubServer, tmp_path: Path) -> None:
    """It was downloaded once, and after the one that was waited for."""
    files.expect(SECOND)
    assert read(files, FIRST) == PARTS[FIRST]
    wait_until(lambda: cached(tmp_path, SECOND))
    before = downloads(hub)

    assert read(files, SECOND) == PARTS[SECOND]
    assert downloads(hub) == before
    assert not cached(tmp_path, THIRD)


def test_a_file_that_is_being_fetched_is_waited_for(files: SourceFiles, hub: HubServer) -> None:
    """Two who want the same file download it once."""
    hub.throttle(1_000_000)
    files.expect(SECOND)

    assert read(files, FIRST) == PARTS[FIRST]
    assert read(files, SECOND) == PARTS[SECOND]
    assert len(downloads(hub)) == 2


def test_the_file_behind_it_is_there_too(files: SourceFiles, hub: HubServer, tmp_path: Path) -> None:
    """Nobody has to ask for the next one first: the line is not idle until then."""
    files.expect(SECOND, THIRD)

    with files.open(FIRST):
        wait_until(lambda: cached(tmp_path, SECOND) and cached(tmp_path, THIRD))

    assert len(downloads(hub)) == 3


def test_what_is_fetched_ahead_takes_no_room_of_what_is_read_before(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a cache for two files the third is not downloaded in place of the second, which would come twice then.

    Nor is anything else deleted for it: that would not make room enough.
    """
    hub.add_dataset(REPO, make_source(tmp_path / "source", {"small.txt": noise(9, 50_000), **PARTS}))
    files = open_source(REPO, REPO, access(tmp_path / "cache", fetch_ahead=True, max_cache_bytes=700_000), None)
    read(files, "small.txt")
    files.expect(SECOND, THIRD)

    with caplog.at_level("DEBUG", "utils.sources.prefetch"), files.open(FIRST):
        wait_until(lambda: f"{THIRD} is not fetched" in caplog.text or cached(tmp_path, THIRD))
        assert not cached(tmp_path, THIRD)
    files.close()
    assert cached(tmp_path, "small.txt")
    assert read(files, SECOND) == PARTS[SECOND]
    assert len(downloads(hub)) == 3


def test_behind_a_file_that_can_not_be_fetched_ahead_nothing_is(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That one comes first: a smaller one behind it would take its room, and the run would end."""
    sizes = {FIRST: 600_000, SECOND: 800_000, THIRD: 400_000}
    parts = {name: noise(0, size) for name, size in sizes.items()}
    hub.add_dataset("me/unequal", make_source(tmp_path / "unequal", parts))
    way = access(tmp_path / "cache", fetch_ahead=True, max_cache_bytes=1_000_000)
    files = open_source("me/unequal", "me/unequal", way, None)
    files.expect(SECOND, THIRD)

    with caplog.at_level("DEBUG", "utils.sources.prefetch"), files.open(FIRST):
        wait_until(lambda: f"{SECOND} is not fetched" in caplog.text)
        threading.Event().wait(0.3)
        assert not cached(tmp_path, THIRD)
    assert read(files, SECOND) == parts[SECOND]
    files.close()


def test_what_fails_ahead_is_met_by_whoever_opens_the_file(files: SourceFiles, hub: HubServer, tmp_path: Path) -> None:
    """Nothing is said before; and where it was a passing weakness, nothing at all."""
    hub.fault("status", step="cdn", status=404, skip=1, times=1)
    files.expect(SECOND)
    assert read(files, FIRST) == PARTS[FIRST]
    wait_until(lambda: len(downloads(hub)) >= 2)

    assert read(files, SECOND) == PARTS[SECOND]


def test_closing_ends_a_download_and_keeps_what_came(files: SourceFiles, hub: HubServer, tmp_path: Path) -> None:
    files.expect(SECOND)
    assert read(files, FIRST) == PARTS[FIRST]
    hub.throttle(200_000)

    files.close()

    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    assert not cached(tmp_path, THIRD)


@pytest.mark.parametrize("fields", [{"fetch_ahead": False}, {"fetch_ahead": True, "streaming": True}])
def test_nothing_is_fetched_that_was_not_asked_for(hub: HubServer, tmp_path: Path, fields: dict[str, bool]) -> None:
    """Not with `--no-overlap`, and not where files are not kept."""
    files = open_source(REPO, REPO, access(tmp_path / "cache", **fields), None)
    files.expect(SECOND)

    assert read(files, FIRST) == PARTS[FIRST]

    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    files.close()


def test_a_disk_that_is_nearly_full_is_left_alone(
    files: SourceFiles, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody waits for takes no room that staging may want."""
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil's own
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12 - 5 * 10**9, 5 * 10**9))
    files.expect(SECOND)

    assert read(files, FIRST) == PARTS[FIRST]
    files.close()

    assert len(downloads(hub)) == 1
    assert read(files, SECOND) == PARTS[SECOND]


def test_only_the_last_wish_counts() -> None:
    """A reader that has gone on wants what comes next, not what it has passed."""
    began, go_on = threading.Event(), threading.Event()
    fetched: list[str] = []

    def fetch(name: str, is_to_end: Callable[[], bool]) -> bool:
        fetched.append(name)
        began.set()
        go_on.wait(30)
        if name == "b":
            raise SourceError("it is gone")
        return True

    prefetcher = Prefetcher(fetch)
    prefetcher.expect("a")
    assert began.wait(30)
    for name in ("x", "b"):
        prefetcher.expect(name)
    go_on.set()
    wait_until(lambda: len(fetched) == 2)
    prefetcher.close()

    assert fetched == ["a", "b"]
    prefetcher.expect("c")
    assert fetched == ["a", "b"]
