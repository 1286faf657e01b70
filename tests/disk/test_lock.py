"""One writer on this machine: the second one is refused, and a dead one does not stand in the way."""

import errno
import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from utils.disk.lock import hold_lock
from utils.errors import TargetRefused

PROJECT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from utils.disk.lock import hold_lock
with hold_lock(Path(sys.argv[1]), "a/dataset"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_holding(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until its standard input is closed, or it is killed."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_second_process_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    """The message names the target, the host and the process."""
    with another_process_holding(tmp_path / "lock") as holder:
        with pytest.raises(TargetRefused) as refusal, hold_lock(tmp_path / "lock", "a/dataset"):
            pytest.fail("two held the lock")

        assert refusal.value.exit_code == 6
        for named in ("a/dataset", f"host {socket.gethostname()}", f"process {holder.pid},"):
            assert named in str(refusal.value)
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\)", str(refusal.value))
        assert "another machine" not in str(refusal.value)


def test_killed_holder_releases_the_lock(tmp_path: Path) -> None:
    """SIGKILL leaves the file, not the lock: nobody has to delete anything."""
    with another_process_holding(tmp_path / "lock") as holder:
        holder.kill()
        holder.wait()

    with hold_lock(tmp_path / "lock", "a/dataset"):
        assert f"process {os.getpid()}," in (tmp_path / "lock").read_text()


@pytest.mark.parametrize(
    "signed",
    [
        f"host {socket.gethostname()}, process 1, since 2020-01-01 00:00:00 +0000\n",
        f"host {socket.gethostname()}, process {os.getpid()}, since 2020-01-01 00:00:00 +0000\n",
        "host another-machine, process 4242, since 2020-01-01 00:00:00 +0000\n",
        "",
        "\x1b[2J\0half a line \xff",
    ],
    ids=["a living process's id", "of another boot, our own id", "another machine", "power cut", "rubbish"],
)
def test_leftover_file_is_nobodys_lock(tmp_path: Path, signed: str, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel's lock counts, not the file: whoever signed it is told, taken over from, and needs no deleting."""
    caplog.set_level("INFO")
    (tmp_path / "lock").write_text(signed)

    with hold_lock(tmp_path / "lock", "a/dataset"):
        assert (tmp_path / "lock").read_text().startswith(f"host {socket.gethostname()}, process {os.getpid()}, since ")

    assert ("Took over the lock on a/dataset" in caplog.text) == bool(signed)
    assert not signed.startswith("host") or signed.strip() in caplog.text
    assert "\x1b" not in caplog.text
    assert not (tmp_path / "lock").exists()


def test_holder_on_another_machine_is_named_as_such(tmp_path: Path) -> None:
    """On a shared folder: which machine, where to stop it, and what becomes of the lock should that one be gone."""
    with another_process_holding(tmp_path / "lock") as holder:
        (tmp_path / "lock").write_text("host another-machine, process 4242, since 2020-01-01 00:00:00 +0000\n")
        with pytest.raises(TargetRefused) as refusal, hold_lock(tmp_path / "lock", "a/dataset"):
            pytest.fail("two held the lock")
        assert holder.poll() is None

    for said in ("another-machine, process 4242", "another machine that shares this folder", str(tmp_path / "lock")):
        assert said in str(refusal.value)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where nobody can be kept out nothing is written: exit 6, and what to do instead."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with (
        pytest.raises(TargetRefused, match="can't lock files.*Nothing was changed.*local disk"),
        hold_lock(tmp_path / "lock", "a/dataset"),
    ):
        pytest.fail("held a lock that there is not")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTTY, errno.EBADF])
def test_file_system_that_knows_no_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """Shares of other systems: the run goes on, and says what is not promised there."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with hold_lock(tmp_path / "lock", "a/dataset"):
        pass

    (told,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "a second run could write to a/dataset meanwhile" in told


def test_lock_is_released_at_the_end_of_the_block_and_on_errors(tmp_path: Path) -> None:
    """One after the other is fine, in one process too."""
    with pytest.raises(KeyError), hold_lock(tmp_path / "lock", "a/dataset"):
        raise KeyError

    with hold_lock(tmp_path / "lock", "a/dataset"):
        pass


def test_two_in_one_process_are_two_writers(tmp_path: Path) -> None:
    """The lock is not re-entrant."""
    with (
        hold_lock(tmp_path / "lock", "a/dataset"),
        pytest.raises(TargetRefused),
        hold_lock(tmp_path / "lock", "a/dataset"),
    ):
        pytest.fail("two held the lock")


def test_refused_writer_leaves_the_holders_name(tmp_path: Path) -> None:
    """Being refused changes nothing in the file."""
    with another_process_holding(tmp_path / "new" / "lock") as holder:
        for _ in range(2):
            with (
                pytest.raises(TargetRefused, match=f"process {holder.pid},"),
                hold_lock(tmp_path / "new" / "lock", "x"),
            ):
                pytest.fail("two held the lock")


def test_a_run_whose_parent_is_gone_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed: the kernel lets go of its lock once its last write is done, and then it is ours."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dying = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(dying, fcntl.LOCK_EX)
    os.write(dying, f"host {socket.gethostname()}, process {gone.pid}, since yesterday\n".encode())
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            os.close(dying)

    monkeypatch.setattr("utils.disk.lock.time.sleep", nap)

    with hold_lock(tmp_path / "lock", "a/dataset"):
        assert len(naps) == 3
