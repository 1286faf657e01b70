"""The index of IDs: it holds what was entered and nothing else, whatever is lost, damaged or cut short."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_runs import watching
from utils.disk.durable import Effect
from utils.upload.id_index import IdIndex


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[None]:
    """Nobody pulls the plug of a test: flushing to the disk would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def sha(number: int) -> str:
    """What a shard is named by."""
    return f"{number:064x}"


def ids_of(shard: int, count: int = 40) -> list[str]:
    return [f"clip-{shard}-{number}-ก" for number in range(count)]


def filled(folder: Path, shards: int, count: int = 40) -> IdIndex:
    """An index of so many shards, entered one by one."""
    index = IdIndex(folder, [])
    for shard in range(shards):
        index.add(ids_of(shard, count), [sha(shard)])
    return index


def held(index: IdIndex, shards: int, count: int = 40) -> list[int]:
    """The shards that it has; each is wholly there or wholly not."""
    found = []
    for shard in range(shards):
        there = [sample_id in index for sample_id in ids_of(shard, count)]
        assert all(there) or not any(there)
        found += [shard] * all(there)
    return found


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(0, 11))
def test_holds_what_was_entered_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], reopened_at: int
) -> None:
    """Batches of any size, in one life or two: what a set would hold."""
    folder = tmp_path_factory.mktemp("index")
    index, entered = IdIndex(folder, []), 0
    for shard, size in enumerate(sizes):
        index.add(ids_of(shard, size), [sha(shard)])
        entered += size
        if shard == reopened_at:
            index.close()
            index = IdIndex(folder, [sha(number) for number in range(len(sizes))][: shard + 1])

    assert (index.covered, len(index)) == (len(sizes), entered)
    assert all(sample_id in index for shard, size in enumerate(sizes) for sample_id in ids_of(shard, size))
    assert not any(f"clip-{shard}-{size}-ก" in index for shard, size in enumerate(sizes))
    assert 7 not in index
    index.close()


def test_files_are_few_and_within_sixteen_bytes_an_id(tmp_path: Path) -> None:
    """Small files go into larger ones: a look-up reads a handful at most."""
    index = filled(tmp_path, shards=120, count=200)

    files = list(tmp_path.iterdir())
    assert len(files) <= 5
    assert sum(path.stat().st_size for path in files) == index.size_bytes <= 16 * len(index)
    assert len(index) == 120 * 200
    index.close()


def test_opened_again_it_reads_no_more_than_it_needs(tmp_path: Path) -> None:
    """All of it is there at once; nothing is entered again, and nothing is written."""
    filled(tmp_path, shards=9).close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    index = IdIndex(tmp_path, [sha(shard) for shard in range(9)])

    assert (index.covered, held(index, 9)) == (9, list(range(9)))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    index.close()


def test_shards_published_since_are_what_it_lacks(tmp_path: Path) -> None:
    """A run died between a commit and this index: it says how far it goes, and takes the rest."""
    filled(tmp_path, shards=5).close()

    index = IdIndex(tmp_path, [sha(shard) for shard in range(7)])
    assert index.covered == 5
    index.add([*ids_of(5), *ids_of(6)], [sha(5), sha(6)])

    assert (index.covered, held(index, 8)) == (7, list(range(7)))
    index.close()


def test_what_is_of_other_shards_is_not_believed(tmp_path: Path) -> None:
    """Another generation, a repaired shard, a state that went back: only files of exactly these shards count."""
    shards = [sha(shard) for shard in range(6)]
    for known in ([], ["f" * 64, *shards[1:]], [shards[1], shards[0], *shards[2:]], shards[1:], shards[:3]):
        filled(tmp_path, shards=6).close()

        index = IdIndex(tmp_path, known)

        assert index.covered <= (3 if known == shards[:3] else 0)
        assert held(index, 6) == list(range(index.covered))
        assert bool(list(tmp_path.iterdir())) == bool(index.covered)
        index.close()


@pytest.mark.parametrize("place", [0.0, 0.01, 0.5, 0.99, 1.0], ids=str)
def test_changed_byte_is_noticed(tmp_path: Path, place: float) -> None:
    """A damaged file is deleted, and its shards are lacking: no ID is claimed or lost for it."""
    filled(tmp_path, shards=1).close()
    (path,) = tmp_path.iterdir()
    raw = bytearray(path.read_bytes())
    raw[int(place * (len(raw) - 1))] ^= 1
    path.write_bytes(raw)

    index = IdIndex(tmp_path, [sha(0)])

    assert (index.covered, len(index), held(index, 1)) == (0, 0, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"ID-RUN-1", b"x" * 500], ids=["empty", "cut short", "another form"])
def test_files_of_another_form_go(tmp_path: Path, content: bytes) -> None:
    """Half a file, or somebody else's, even under a name that fits it."""
    filled(tmp_path, shards=2).close()
    (tmp_path / f"00002-00003-{xxhash.xxh3_64_hexdigest(content)}.ids").write_bytes(content)
    (tmp_path / "new.tmp").write_bytes(content)

    index = IdIndex(tmp_path, [sha(shard) for shard in range(3)])

    assert held(index, 3) == [0, 1]
    assert all(path.name.startswith("00000-") or path.name.startswith("00001-") for path in tmp_path.iterdir())
    index.close()


class Dying:
    """Lets the n-th step fail; all steps after it too, as if the process were gone."""

    def __init__(self, at: int, after: bool) -> None:
        self.steps, self._at, self._after = 0, at, after

    def before(self, effect: Effect) -> None:
        self.steps += 1
        if self.steps > self._at or (self.steps == self._at and not self._after):
            raise OSError(28, "No space left on device", str(effect.path))

    def after(self, effect: Effect) -> None:
        if self.steps >= self._at:
            raise OSError(28, "No space left on device", str(effect.path))


def entering(folder: Path, at: int, after: bool) -> tuple[IdIndex, int]:
    """An index of ten shards, and how many steps it took to enter an eleventh, dying at step `at`."""
    index = filled(folder, shards=10)
    dying = Dying(at, after)
    with watching(dying), suppress(OSError):
        index.add(ids_of(10), [sha(10)])
    return index, dying.steps


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lives_on", [False, True], ids=["dies", "lives on"])
def test_entering_may_be_cut_short_at_any_step(tmp_path: Path, after: bool, lives_on: bool) -> None:
    """A shard is then wholly there or wholly lacking, in this process and in the next, and can be entered again."""
    complete, steps = entering(tmp_path / "whole", 10**9, after)
    complete.close()
    shards = [sha(shard) for shard in range(12)]
    assert steps > 5

    for at in range(1, steps + 1):
        index, _ = entering(tmp_path / str(at), at, after)
        if not lives_on:
            index.close()
            index = IdIndex(tmp_path / str(at), shards)
        assert held(index, 12) == list(range(index.covered))
        assert index.covered in (10, 11)
        lacking = range(index.covered, 12)
        index.add([sample_id for shard in lacking for sample_id in ids_of(shard)], [sha(shard) for shard in lacking])

        assert (held(index, 12), len(index)) == (list(range(12)), 12 * 40)
        index.close()
        reopened = IdIndex(tmp_path / str(at), shards)
        assert held(reopened, 12) == list(range(12))
        reopened.close()
