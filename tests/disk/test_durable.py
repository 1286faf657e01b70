"""The order of what is made durable: in the one layer that writes, and over a whole run as that layer sees it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.small_runs import KEPT, Failing, Seen, small_run, watching, write_mirror
from tests.support import published_ids, sample
from utils.dataset.folder import LocalTarget
from utils.disk.durable import (
    BUFFER_BYTES,
    NewFile,
    copy_file,
    make_folder,
    publish_file,
    rename_aside,
    write_atomically,
)
from utils.streaming import StreamingUploader
from utils.upload.segments import read_segments
from utils.upload.upload_checkpoint import load_uploaded

# --- the layer -------------------------------------------------------------------------------


@dataclass
class Flushed:
    """What was really flushed, by its name."""

    names: list[str]


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> Flushed:
    found = Flushed([])

    def noting(descriptor: int) -> None:
        found.names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", noting)
    return found


def test_file_is_written_and_flushed_before_it_gets_its_name(tmp_path: Path, flushed: Flushed) -> None:
    """A temporary file, fsync, rename, fsync of the folder; new folders are flushed into those above them."""
    with watching(Seen(tmp_path)) as seen:
        write_atomically(tmp_path / "a/b/state.json", b"content")

    temporary = seen.steps[4].removeprefix("create ")
    assert re.fullmatch(r"a/b/state\.json\..*\.tmp", temporary)
    assert seen.steps == [
        *("mkdir a", "fsync .", "mkdir a/b", "fsync a"),
        *(f"create {temporary}", f"write {temporary}", f"fsync {temporary}"),
        *("rename a/b/state.json", "fsync a/b"),
    ]
    assert flushed.names == [tmp_path.name, "a", Path(temporary).name, "b"]
    assert (tmp_path / "a/b/state.json").read_bytes() == b"content"


def test_finished_file_is_published_in_the_same_order(tmp_path: Path, flushed: Flushed) -> None:
    """fsync, rename, fsync of the folder."""
    (tmp_path / "built").write_bytes(b"rows")
    make_folder(tmp_path / "data")
    flushed.names.clear()

    with watching(Seen(tmp_path)) as seen:
        publish_file(tmp_path / "built", tmp_path / "data/shard")

    assert seen.steps == ["fsync built", "rename data/shard", "fsync data"]
    assert flushed.names == ["built", "data"]


def test_copy_is_flushed(tmp_path: Path, flushed: Flushed) -> None:
    """It is to stand for the original."""
    (tmp_path / "old").write_bytes(b"rows" * BUFFER_BYTES)

    with watching(Seen(tmp_path)) as seen:
        copy_file(tmp_path / "old", tmp_path / "new")

    assert (seen.steps[0], seen.steps[-1]) == ("create new", "fsync new")
    assert flushed.names == ["new"]
    assert (tmp_path / "new").read_bytes() == (tmp_path / "old").read_bytes()


def test_bytes_come_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    """Small writes wait in a buffer, large ones do not: none overtakes another."""
    sizes = [3, BUFFER_BYTES - 1, 5, BUFFER_BYTES + 1, 0, 7, BUFFER_BYTES, 2 * BUFFER_BYTES, 1]
    pieces = [bytes([number]) * size for number, size in enumerate(sizes, start=1)]

    with NewFile(tmp_path / "file") as new:
        for piece in pieces:
            assert new.write(piece) == len(piece)

    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_file_that_is_given_up_is_never_flushed(tmp_path: Path, flushed: Flushed) -> None:
    """An error inside the block leaves a file that nobody may take for a whole one; later writes are dropped."""
    with pytest.raises(KeyError), NewFile(tmp_path / "file") as new:
        new.write(b"half")
        raise KeyError

    assert new.write(b"footer") == 6
    new.finish()
    assert flushed.names == []
    assert (tmp_path / "file").read_bytes() == b""


def test_step_that_fails_has_no_effect(tmp_path: Path) -> None:
    """What a watcher raises before a rename is raised by the writer, and the old file stands."""
    write_atomically(tmp_path / "state.json", b"old")

    with watching(Failing("rename", "state.json")), pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "state.json", b"new")

    assert (tmp_path / "state.json").read_bytes() == b"old"
    write_atomically(tmp_path / "state.json", b"newer")
    assert (tmp_path / "state.json").read_bytes() == b"newer"


def test_what_is_set_aside_never_overwrites(tmp_path: Path) -> None:
    """A name that is taken gets a number, for files and for folders; both folders are flushed."""
    for number in range(3):
        (tmp_path / "file").write_text(f"file {number}")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder/inside").write_text(f"folder {number}")
        with watching(Seen(tmp_path)) as seen:
            file = rename_aside(tmp_path / "file", tmp_path / "aside/file")
            folder = rename_aside(tmp_path / "folder", tmp_path / "aside/folder")

        names = [f"aside/{path.name}" for path in (file, folder)]
        assert seen.steps[-6:] == [f"rename {names[0]}", "fsync aside", "fsync .", f"rename {names[1]}", "fsync aside",
                                   "fsync ."]  # fmt: skip

    contents = {path.name: path.read_text() for path in (tmp_path / "aside").glob("file*")}
    assert contents == {"file": "file 0", "file-2": "file 1", "file-3": "file 2"}
    assert [path.read_text() for path in sorted((tmp_path / "aside").glob("folder*/inside"))] == [
        "folder 0", "folder 1", "folder 2",
    ]  # fmt: skip


# --- a run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """All steps of a run from its first to its last, into a folder."""
    machine = tmp_path_factory.mktemp("machine")
    write_mirror(machine / "mirrors")
    # That and when a file is flushed counts, not the flushing.
    with patch.object(os, "fsync", lambda descriptor: None), watching(Seen(machine)) as seen:
        result = small_run(machine)
    assert result.state.next_id == KEPT + 1
    return seen


FAMILIES = {
    "shard": r"out/data/.*\.parquet",
    "rejects": r"out/rejected/.*\.parquet",
    "ledger": r"out/\.ingest/files\.jsonl",
    "card": r"out/README\.md",
    "previous": r"out/\.ingest/state\.previous\.json",
    "state": r"out/\.ingest/state\.json",
    "uploaded": r"checkpoints/.*_upload_checkpoint\.json",
    "segment": r"data/staging/.*/\d{12}-\d{12}(-end)?-[0-9a-f]{16}\.arrow",
    "latest": r"checkpoints/\w+_unified_checkpoint\.json",
    "history": r"checkpoints/[A-Za-z0-9]+_\d+(_\d+)?\.json",
    "seen": r"data/staging/.*/seen/.*\.sqlite",
}


def told(seen: Seen) -> Iterator[str]:
    """The renames of a run by what got its name, and the deletions of segments, index steps and reading."""
    for effect in seen.effects:
        name = seen.name(effect.path)
        family = next((family for family, pattern in FAMILIES.items() if re.fullmatch(pattern, name)), None)
        if effect.kind in ("rename", "index") and family:
            yield family
        elif effect.kind == "delete" and family == "segment":
            yield "deleted"
        elif effect.kind == "create" and name.endswith("segment.tmp"):
            yield "opened"


def test_every_rename_of_a_run_is_between_two_flushes(recorded: Seen) -> None:
    """The file's bytes are on the disk before it gets its name, and the name before anything else is renamed."""
    flushed: set[Path] = set()
    waiting: Path | None = None
    renamed = 0
    for effect in recorded.effects:
        if effect.kind == "fsync":
            flushed.add(effect.path)
            waiting = None if effect.path == waiting else waiting
        elif effect.kind in ("create", "write"):
            flushed.discard(effect.path)
        elif effect.kind in ("rename", "delete"):
            assert waiting is None, f"{waiting} was not flushed before {recorded.name(effect.path)} was renamed"
        if effect.kind == "rename":
            assert effect.old in flushed, f"{recorded.name(effect.path)} got its name before its bytes were flushed"
            waiting, renamed = effect.path.parent, renamed + 1

    assert waiting is None
    assert renamed > 50


def test_a_run_writes_every_kind_of_file(recorded: Seen) -> None:
    """What the other tests look for is there."""
    assert {*FAMILIES, "deleted", "opened"} == set(told(recorded))


def test_state_is_renamed_last_and_only_then_the_commit_is_remembered(recorded: Seen) -> None:
    """Shard, rejects, ledger, card, state; then the uploaded IDs; then, at last, segments are deleted."""
    steps = ["shard", "rejects", "ledger", "card", "previous", "state", "uploaded", "deleted"]
    order = " ".join(step for step in told(recorded) if step in steps)

    begun = r"state card( uploaded){3}"
    with_files = r"( shard)?( rejects)? ledger card previous state uploaded( deleted)*"
    without = r"( card)? previous state( uploaded)?( deleted)*"
    assert re.fullmatch(rf"{begun}({with_files}|{without})+", order)
    assert order.count("shard") == 4
    assert order.count("deleted") == list(told(recorded)).count("segment")


def test_position_is_durable_before_any_checkpoint_tells_of_it(recorded: Seen) -> None:
    """The index of source ids, the segment's rename, the history's checkpoint, the latest one: in this order."""
    order = [step for step in told(recorded) if step in ("seen", "segment", "history", "latest", "opened")]

    for number, step in enumerate(order):
        if step == "segment":
            assert "seen" in order[max(0, number - 2) : number]
            assert order[number + 1 : number + 3] == ["history", "latest"]
    assert order.count("latest") == order.count("history") == order.count("segment") > 5


def test_shard_is_written_from_closed_segments_alone(recorded: Seen) -> None:
    """No segment is open while a part is built and committed: its rows would not survive."""
    is_open = False
    for effect in recorded.effects:
        name = recorded.name(effect.path)
        if effect.kind == "create" and name.endswith("segment.tmp"):
            is_open = True
        elif effect.kind == "rename" and re.fullmatch(FAMILIES["segment"], name):
            is_open = False
        if name.startswith("out/data") and effect.kind == "rename":
            assert not is_open


# --- commits that fail -----------------------------------------------------------------------


def uploader(folder: Path) -> StreamingUploader:
    """What a script makes again after a crash."""
    return StreamingUploader(
        "me/x",
        append_mode=True,
        checkpoint_path=folder / "c.json",
        target=LocalTarget(folder / "out"),
        staging_dir=folder / "staging",
    )


@pytest.mark.parametrize("step", ["data/train/samples-00000.parquet", "README.md", ".ingest/state.json"])
@pytest.mark.parametrize("restarted", [False, True], ids=["same process", "restarted"])
def test_what_was_not_committed_is_neither_remembered_nor_deleted(tmp_path: Path, step: str, restarted: bool) -> None:
    """A commit that fails at any file: no ID counts as uploaded, the segments are there, the next try publishes all."""
    failing = uploader(tmp_path)
    for number in range(1, 4):
        failing.add_sample(sample(number))

    with watching(Failing("rename", step)), pytest.raises(OSError, match="Input/output error"):
        failing.flush()

    assert len(failing.uploaded_ids) == len(load_uploaded(tmp_path / "c.json")["uploaded_ids"]) == 0
    staged = list(read_segments(tmp_path / "staging/me_x/samples/train", lambda path, why: pytest.fail(why)))
    assert sum(segment.rows for segment in staged) == 3
    assert failing.split_uploader.publisher.state.next_id == 1

    if restarted:
        failing.close()
    again = uploader(tmp_path) if restarted else failing
    assert again.flush() == 3
    assert published_ids(tmp_path / "out") == ["S1", "S2", "S3"]
    assert list(again.uploaded_ids) == list(load_uploaded(tmp_path / "c.json")["uploaded_ids"]) == ["S1", "S2", "S3"]
    assert not list((tmp_path / "staging/me_x/samples/train").iterdir())
