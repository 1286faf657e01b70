"""Two names of one folder (bind mounts of a volume) are two places for a lock beside it: so one is held inside, too."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.kills import Killed, KilledAt
from tests.small_runs import CLIPS, small_run, watching, write_mirror
from tests.support import tree
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.dataset.target import Change
from utils.errors import TargetRefused
from utils.upload.publisher import begun_state

PROJECT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from utils.dataset.folder import LocalTarget
with LocalTarget(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""
MOUNTED_TWICE = """
set -e
mount -t tmpfs volume "$1/one"
mount --bind "$1/one" "$1/two/out"
"$2" -c "$3" "$1/one" > "$1/told" < "$1/pipe" &
exec 3> "$1/pipe"
until [ -s "$1/told" ]; do read -t 0.01 <> "$1/never" || true; done
"$2" -c "$3" "$1/two/out" < /dev/null
"""


@contextmanager
def held_by_another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock of a folder until the block ends."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with a dataset."""
    write_mirror(tmp_path / "mirrors", CLIPS)
    small_run(tmp_path)
    return tmp_path


def by_another_name(folder: Path) -> LocalTarget:
    """The same folder as through another mount: nothing that lies beside it is shared."""
    shutil.rmtree(folder.parent / f".{folder.name}.lock", ignore_errors=True)
    (folder.parent / f".{folder.name}.lock").unlink(missing_ok=True)
    return LocalTarget(folder)


def test_the_same_folder_by_another_name_is_refused(machine: Path) -> None:
    """The lock beside it is another one there; the one inside is the same."""
    with (
        held_by_another(machine / "out") as holder,
        pytest.raises(TargetRefused, match=f"Another run is writing to .*process {holder.pid},"),
        by_another_name(machine / "out").lock(),
    ):
        pytest.fail("two held the lock")


def test_a_volume_that_is_mounted_twice_has_one_writer(tmp_path: Path) -> None:
    """With real mounts, where this machine lets us have some of our own."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no mounts of one's own")
    for folder in ("one", "two/out"):
        (tmp_path / folder).mkdir(parents=True)
    for pipe in ("pipe", "never"):
        os.mkfifo(tmp_path / pipe)

    second = subprocess.run(
        [*unshare, "bash", "-c", MOUNTED_TWICE, "bash", str(tmp_path), sys.executable, HOLDER],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "Another run is writing to" in second.stderr
    assert "held" not in second.stdout


def test_it_is_no_part_of_the_dataset(machine: Path) -> None:
    """Not of what is listed, checked, or kept; and gone at the end."""
    before = tree(machine / "out", "")
    target = LocalTarget(machine / "out")
    with target.lock():
        assert (machine / "out/.lock").exists()
        assert sorted(file.path for file in target.stored_files(target.snapshot())) == sorted(before)
        assert verify(target, machine / "scratch").is_sound

    assert tree(machine / "out", "") == before


def test_a_first_run_holds_it_as_soon_as_there_is_a_folder(tmp_path: Path) -> None:
    """A folder that was not there can be mounted elsewhere once it is."""
    target = LocalTarget(tmp_path / "out")
    with target.lock():
        assert not (tmp_path / "out").exists()
        target.begin(Change("Begin", begun_state(16_000)), target.snapshot())

        with pytest.raises(TargetRefused, match="Another run"), by_another_name(tmp_path / "out").lock():
            pytest.fail("two held the lock")


def test_a_fresh_start_takes_it_along(machine: Path) -> None:
    """It is held in the new folder, and the old one that is kept has none."""
    before = tree(machine / "out", "")
    target = LocalTarget(machine / "out")
    with target.lock():
        target.begin(Change("Begin", begun_state(16_000)), target.snapshot())

        with pytest.raises(TargetRefused, match="Another run"), by_another_name(machine / "out").lock():
            pytest.fail("two held the lock")

    (kept,) = machine.glob("out.before-fresh-*")
    assert tree(kept, "") == before
    assert not (machine / "out/.lock").exists()


def test_a_fresh_start_that_dies_anywhere_leaves_none_in_the_old_folder(machine: Path, tmp_path: Path) -> None:
    """Whatever step it dies at, the old dataset is kept byte for byte, and the next run gets the lock."""
    before = tree(machine / "out", "")
    number, killed = 0, True
    while killed:
        other = tmp_path / f"killed-{number}"
        shutil.copytree(machine / "out", other / "out")
        death = KilledAt(number)
        target = LocalTarget(other / "out")
        with watching(death), suppress(Killed), target.lock():
            target.begin(Change("Begin", begun_state(16_000)), target.snapshot())
        killed = death.died

        with LocalTarget(other / "out").lock():
            assert LocalTarget(other / "out").snapshot().state is not None

        kept = list(other.glob("out.before-fresh-*"))
        assert [tree(folder, "") for folder in kept or [other / "out"]] == [before]
        number += 1


def test_a_folder_that_can_only_be_read_is_locked_against_writers(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--verify` there makes no file, and is told of a writer that has the folder by another name."""
    opened = os.open

    def only_to_read(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path).is_relative_to(machine / "out") and flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, mode)

    with monkeypatch.context() as read_only:
        read_only.setattr(os, "open", only_to_read)
        with LocalTarget(machine / "out").lock():
            assert not (machine / "out/.lock").exists()
    with held_by_another(machine / "out"), monkeypatch.context() as read_only:
        read_only.setattr(os, "open", only_to_read)
        other = by_another_name(machine / "out")
        with pytest.raises(TargetRefused, match="Another run"), other.lock():
            pytest.fail("two held the lock")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOLCK])
def test_a_volume_without_locks_is_told_of_once(
    machine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """The lock beside it is held, so the run goes on; where neither place has any, that is said once, too."""
    locked = fcntl.flock
    everywhere = number == errno.EINVAL

    def refuse(descriptor: int, operation: int) -> None:
        if everywhere or Path(f"/proc/self/fd/{descriptor}").readlink().parent == machine / "out":
            raise OSError(number, os.strerror(number))
        locked(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", refuse)
    with LocalTarget(machine / "out").lock():
        pass

    (told,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "knows no locks" in told
