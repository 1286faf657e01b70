"""A script's uploader is a writer like a run: one process at a time; inside it, one uploader for each split."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import parse
from tests.hub_server import TOKEN, HubServer
from tests.support import published_rows, sample
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.errors import TargetRefused, UsageError
from utils.streaming import StreamingUploader

PROJECT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from tests.support import sample
from utils.streaming import StreamingUploader
from utils.dataset.folder import LocalTarget
folder = Path(sys.argv[1])
uploader = StreamingUploader(
    "me/x", append_mode=True, checkpoint_path=folder / "c.json", target=LocalTarget(folder / "out"),
    staging_dir=folder / "staging",
)
uploader.upload_batch([sample(1)])
print("uploaded", flush=True)
sys.stdin.read()
"""


def uploader(folder: Path, **options: Any) -> StreamingUploader:
    options = {"append_mode": True, "target": LocalTarget(folder / "out"), **options}
    split = options.get("split", "train")
    return StreamingUploader(
        "me/x", checkpoint_path=folder / f"{split}.json", staging_dir=folder / "staging", **options
    )


def is_free(folder: Path) -> bool:
    """Whether a run could write to the target now."""
    try:
        with LocalTarget(folder / "out").lock():
            return True
    except TargetRefused:
        return False


@contextmanager
def another_script(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A script in a process of its own that has uploaded a sample, and never closes its uploader."""
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "uploaded\n"
        try:
            yield process
        finally:
            process.kill()


def test_second_process_is_refused(tmp_path: Path) -> None:
    """Told who writes there; nothing is changed, and its samples are not lost in a fight over the staging."""
    with another_script(tmp_path) as other:
        with pytest.raises(TargetRefused, match=f"process {other.pid},") as refusal:
            uploader(tmp_path)

        assert refusal.value.exit_code == 6
        assert not is_free(tmp_path)


@pytest.mark.parametrize("end", ["kill", "leave"])
def test_end_of_a_process_lets_go(tmp_path: Path, end: str) -> None:
    """However it ends: nobody has to delete anything, and what it uploaded is known."""
    with another_script(tmp_path) as other:
        if end == "kill":
            other.send_signal(signal.SIGKILL)
        other.communicate()

    assert (tmp_path / ".out.lock").exists() == (end == "kill")
    assert is_free(tmp_path)
    assert uploader(tmp_path).upload_batch([sample(1), sample(2)]) == 1


def test_closing_lets_go(tmp_path: Path) -> None:
    """By hand (twice does no harm), or at the end of a block, which uploads what waits."""
    one = uploader(tmp_path)
    one.add_sample(sample(1))
    one.flush()
    assert not is_free(tmp_path)
    one.close()
    one.close()
    assert is_free(tmp_path)

    with uploader(tmp_path) as two:
        two.add_sample(sample(2))
    assert is_free(tmp_path)
    assert two.uploaded_ids == {"S1", "S2"}


def test_block_that_ends_in_an_error_uploads_nothing_more(tmp_path: Path) -> None:
    """Half a batch is not what the script meant to publish; the target is free all the same."""
    with pytest.raises(KeyError), uploader(tmp_path) as broken:
        broken.add_sample(sample(1))
        raise KeyError

    assert is_free(tmp_path)
    assert len(broken.uploaded_ids) == 0


def test_forgotten_uploader_lets_go(tmp_path: Path) -> None:
    """Scripts make uploaders without closing them."""
    forgotten = uploader(tmp_path)
    forgotten.upload_batch([sample(1)])
    del forgotten

    assert is_free(tmp_path)


def test_uploader_that_could_not_begin_lets_go(tmp_path: Path) -> None:
    """Refused for its checkpoint: the error is all that stays."""
    (tmp_path / "train.json").write_text("{")

    with pytest.raises(UsageError, match="damaged") as refusal:
        uploader(tmp_path, append_mode=False)

    assert is_free(tmp_path), refusal
    (tmp_path / "train.json").unlink()
    uploader(tmp_path, append_mode=False).close()


def test_closed_uploader_takes_nothing(tmp_path: Path) -> None:
    """The target may be another's by now."""
    closed = uploader(tmp_path)
    closed.close()

    for use in (closed.flush, lambda: closed.add_sample(sample(1)), lambda: closed.upload_batch([sample(1)])):
        with pytest.raises(UsageError, match="closed"):
            use()


def test_two_splits_of_one_dataset_at_once(tmp_path: Path) -> None:
    """A script that sorts its clips as it goes: both are uploaded, in turns, into one dataset."""
    with uploader(tmp_path, split="train", append_mode=False) as train:
        with uploader(tmp_path, split="test", append_mode=False) as test:
            for number in range(1, 5):
                train.upload_batch([sample(number)])
                test.upload_batch([sample(number + 100), sample(number)])
        assert not is_free(tmp_path)
        train.upload_batch([sample(5)])

    assert is_free(tmp_path)
    assert train.uploaded_ids == {f"S{number}" for number in range(1, 6)}
    assert len(published_rows(tmp_path / "out")) == 5 + 8
    with uploader(tmp_path, split="test") as again:
        assert again.upload_batch([sample(101), sample(1), sample(105)]) == 1


def test_newer_uploader_of_a_split_takes_over(tmp_path: Path) -> None:
    """In a notebook the cell is run again: the old object says so, instead of writing into the same files."""
    old = uploader(tmp_path)
    old.add_sample(sample(1))
    new = uploader(tmp_path)
    assert new.upload_batch([sample(1)]) == 1

    for use in (old.flush, lambda: old.add_sample(sample(2))):
        with pytest.raises(UsageError, match="taken over"):
            use()
    old.close()
    assert not is_free(tmp_path)
    assert new.upload_batch([sample(1), sample(2)]) == 1
    new.close()


def test_forked_process_neither_holds_nor_frees_the_lock(tmp_path: Path) -> None:
    """A pool of workers is forked while the uploader is at work: the lock stays with the process that took it."""
    holder = uploader(tmp_path)
    child = os.fork()
    if not child:
        code = 1
        try:
            with pytest.raises(TargetRefused):
                uploader(tmp_path, split="test")
            holder.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0

    assert (tmp_path / ".out.lock").exists()
    assert not is_free(tmp_path)
    assert holder.upload_batch([sample(1)]) == 1
    holder.close()
    assert is_free(tmp_path)


def test_repo_on_the_hub_has_the_lock_that_a_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script and `main.py` in one working folder, on one repo: the second of them is refused."""
    monkeypatch.chdir(tmp_path)
    with HubServer(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with StreamingUploader("me/thai-voice", token=TOKEN) as script:
            assert script.upload_batch([sample(1)]) == 1
            options = parse(["--append", "--all", "--hf-repo", "me/thai-voice"])
            with (
                pytest.raises(TargetRefused, match="Another run"),
                HubTarget("me/thai-voice", TOKEN, options.staging_dir).lock(),
            ):
                pytest.fail("two held the lock")
