"""What this machine refuses a run: told in words with exit code 5, nothing lost, and the resume is right.

Limits are real ones of a process of its own, disks are real ones where this machine lets us mount some.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.explain import in_words
from processors.engine.unreadable import damage_explained
from tests.runs import PROJECT, environment
from tests.small_runs import CLIPS, KEPT, SOURCE, small_run, watching, write_mirror
from tests.support import published_rows, tree
from utils.disk.durable import Effect, write_atomically
from utils.errors import IngestError, Stopped

RUN = ("--fresh", SOURCE, "--source-dir", "mirrors", "--output", "out", "--upload-batch-size", "3")
LIMITED = """
import resource, runpy, sys
name, most, *sys.argv = sys.argv[1:]
if name != "none":
    resource.setrlimit(getattr(resource, name), (int(most), int(most)))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
IN_A_FOLDER_THAT_GOES = (
    "import os, sys; os.rmdir(os.getcwd()); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
UNSHARED = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with a mirror, where nothing was run yet."""
    write_mirror(tmp_path / "mirrors", CLIPS)
    return tmp_path


def ended(command: Sequence[str], machine: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=machine, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


def limited(machine: Path, name: str, most: int, *more: str) -> "subprocess.CompletedProcess[str]":
    """A run under a limit of the system's."""
    program = [sys.executable, "-c", LIMITED, name, str(most), str(PROJECT / "main.py")]
    return ended([*program, *RUN, *more], machine)


def unprivileged() -> list[str]:
    """What a command begins with that root may give up its privileges by; limits of processes don't bind root."""
    if os.getuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root is not bound by this limit, and there is no setpriv")
    as_others = ["setpriv", "--reuid", "54321", "--inh-caps", "-all,+dac_override", "--ambient-caps", "+dac_override"]
    if subprocess.run([*as_others, "true"], capture_output=True, check=False).returncode:
        pytest.skip("root is not bound by this limit, and may not become somebody else")
    return as_others


def assert_told(run: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert run.returncode == Stopped.exit_code, run.stderr
    assert "Nothing is lost" in run.stderr and "--resume" in run.stderr
    assert "bug" not in run.stderr and "Traceback" not in run.stderr and "Error" not in run.stderr
    for word in words:
        assert word in run.stderr, run.stderr


def assert_resumed(machine: Path) -> None:
    done = limited(machine, "none", 0, "--resume")
    assert done.returncode == 0, done.stderr
    assert len(published_rows(machine / "out")) == KEPT


@pytest.mark.parametrize(
    ("limit", "most", "words"),
    [("RLIMIT_FSIZE", 40_000, ("limit on the size of files", "ulimit -f")), ("RLIMIT_NOFILE", 12, ("ulimit -n",))],
)
def test_a_limit_of_files(machine: Path, limit: str, most: int, words: tuple[str, ...]) -> None:
    """Of their size (SIGXFSZ kills nobody), of how many are open."""
    assert_told(limited(machine, limit, most), *words)

    assert_resumed(machine)


def test_a_run_that_may_start_no_process(machine: Path) -> None:
    """The small process that should watch over the run can't fork it."""
    program = [sys.executable, "-c", LIMITED, "RLIMIT_NPROC", "1", str(PROJECT / "main.py")]

    assert_told(ended([*unprivileged(), *program, *RUN], machine), "ulimit -u", "no further thread or process")

    assert_resumed(machine)


def test_a_run_that_may_start_no_thread(machine: Path) -> None:
    """Python says so by an error that has no class of its own."""
    alone = f"sys.path.insert(0, {str(PROJECT)!r})\nimport main\nsys.exit(main.main(sys.argv[1:]))\n"
    program = LIMITED[: LIMITED.index("runpy.run_path")] + alone
    command = [sys.executable, "-c", program, "RLIMIT_NPROC", "1", "main.py", *RUN, "--num-workers", "2"]

    assert_told(ended([*unprivileged(), *command], machine), "ulimit -u", "no further thread or process")

    assert_resumed(machine)


def test_a_disk_without_inodes(machine: Path) -> None:
    """There is room for bytes, and none for another file: that is said, as nobody looks for it."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*UNSHARED, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine gives no mounts of one's own")
    (machine / "data").mkdir()
    script = 'mount -t tmpfs -o size=50m,nr_inodes=6 few data && exec "$@"'
    program = [sys.executable, str(PROJECT / "main.py"), *RUN]

    assert_told(ended([*UNSHARED, "sh", "-c", script, "sh", *program], machine), "no inodes left", "0.1 GB free")

    assert_resumed(machine)


def test_a_log_that_has_no_room_ends_no_run(machine: Path) -> None:
    """The run goes on, and says so once; so does one that has no log at all."""
    script = f"""
import logging, resource, sys
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from pipeline.terminal.logs import set_up_logging
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
set_up_logging(Path("logs"), verbose=False, quiet=True, secrets=[])
for number in range(200):
    logging.getLogger("x").info("a line that is not short, number %d", number)
logging.getLogger("x").warning("all the same")
"""
    done = ended([sys.executable, "-c", script], machine)

    assert done.returncode == 0
    assert done.stderr.count("The run goes on without it") == 1
    assert "all the same" in done.stderr
    assert "Traceback" not in done.stderr
    assert "number 3" in next((machine / "logs").iterdir()).read_text()


def test_a_log_that_can_not_be_made_ends_no_run(machine: Path) -> None:
    """A file is where its folder should be."""
    (machine / "logs").write_text("a file")

    done = limited(machine, "none", 0)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("The run goes on without it") == 1
    assert len(published_rows(machine / "out")) == KEPT


def test_a_terminal_that_takes_no_more_ends_no_run(machine: Path) -> None:
    """Both streams go to a disk that is full."""
    with Path("/dev/full").open("w") as full:
        program = [sys.executable, str(PROJECT / "main.py"), *RUN]
        done = subprocess.run(
            program, cwd=machine, env=environment(), stdout=full, stderr=full, timeout=120, check=False
        )

    assert done.returncode == 0
    assert len(published_rows(machine / "out")) == KEPT


def test_a_folder_that_is_gone_when_a_run_starts_in_it(machine: Path) -> None:
    """A shell that stands in a deleted folder."""
    (machine / "gone").mkdir()
    run = ended([sys.executable, "-c", IN_A_FOLDER_THAT_GOES, str(PROJECT / "main.py"), *RUN], machine / "gone")

    assert_told(run, "The folder that this was started in is not there any more")


# --- in this process, at any step ---------------------------------------------------------------


class Deleting:
    """Deletes a folder before the step of that number."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._left = folder, number

    def before(self, effect: Effect) -> None:
        self._left -= 1
        if self._left == 0:
            shutil.rmtree(self._folder)

    def after(self, effect: Effect) -> None:
        """It happened."""

    @property
    def was_due(self) -> bool:
        return self._left <= 0


@pytest.mark.parametrize(("folder", "stride"), [("data/staging", 29), ("data", 83), ("checkpoints", 97)])
def test_a_folder_that_is_deleted_under_a_run(machine: Path, tmp_path: Path, folder: str, stride: int) -> None:
    """At whichever step: the run ends in words or goes on, and the resume comes to the very same dataset."""
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(machine / "mirrors", undisturbed / "mirrors")
    small_run(undisturbed)
    expected = tree(undisturbed / "out", "data", "rejected")
    number, was_due = 12, True
    while was_due:
        other = tmp_path / f"deleted-{number}"
        shutil.copytree(machine / "mirrors", other / "mirrors")
        deleting = Deleting(other / folder, number)
        with watching(deleting):
            told = what_it_told(other)
        was_due = deleting.was_due

        assert told is None or told.exit_code == Stopped.exit_code, (number, told)
        small_run(other, resume=has_begun(other))

        assert tree(other / "out", "data", "rejected") == expected, (number, told)
        shutil.rmtree(other)
        number += stride


def has_begun(machine: Path) -> bool:
    """Whether a resume finds what it was that was begun; where all of it is deleted, it is asked for again."""
    return (machine / "out/.ingest/state.json").exists()


def what_it_told(machine: Path) -> IngestError | None:
    """What a run ends with; None where it ended well."""
    try:
        small_run(machine)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must have words
        told = in_words(error)
        assert told is not None, repr(error)
        return told
    return None


class Refusing:
    """Lets writes fail as the system call does: without a file's name."""

    def __init__(self, number: int) -> None:
        self._number = number

    def before(self, effect: Effect) -> None:
        if effect.kind == "write":
            raise OSError(self._number, os.strerror(self._number))

    def after(self, effect: Effect) -> None:
        """It happened."""


def refused(path: Path, number: int) -> OSError:
    """What is raised where a file is written and the system says that number."""
    with watching(Refusing(number)), pytest.raises(OSError) as stopped:
        write_atomically(path, b"content")
    return stopped.value


def test_whatever_the_system_says_of_a_file_is_no_bug(tmp_path: Path) -> None:
    """Any number that there is: in words, with exit code 5, and the error knows its file."""
    for number, name in errno.errorcode.items():
        error = refused(tmp_path / "state.json", number)

        told = in_words(error)
        assert isinstance(told, Stopped), name
        assert "--resume" in str(told) and "Nothing is lost" in str(told), name
        assert str(error.filename).startswith(str(tmp_path / "state.json")), name


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ESTALE, "does not answer (Stale file handle)"),
        (errno.ETIMEDOUT, "state.json"),
        (errno.ENOMEM, "Out of memory"),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOSPC, "The disk is full"),
    ],
)
def test_numbers_that_have_words_of_their_own(tmp_path: Path, number: int, words: str) -> None:
    """What is meant, and what to do."""
    assert words in str(in_words(refused(tmp_path / "state.json", number)))


def test_too_many_open_files_say_nothing_of_a_source() -> None:
    """Its file is not damaged, and no copy of it would help."""
    for number in (errno.EMFILE, errno.ENFILE):
        with pytest.raises(OSError, match="open files") as stopped, damage_explained("clips.tar"):
            raise OSError(number, os.strerror(number))

        assert isinstance(in_words(stopped.value), Stopped)


def test_an_error_without_a_file_may_be_a_bug_of_ours() -> None:
    """Of a number that only a program brings about."""
    assert in_words(OSError(errno.EBADF, "Bad file descriptor")) is None
    assert in_words(RuntimeError("dictionary changed size during iteration")) is None
