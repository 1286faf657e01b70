"""An index of clips knows what its own runs have published. What another run has, it may have refused here.

A clip that was read here as a duplicate, and published by a run that did not know of the other, is in the dataset: the
other must not come, too.
"""

import shutil
from pathlib import Path
from typing import Any

from tests.known.test_what_is_known_is_there import (
    CLIPS,
    assert_all_are_there,
    first,
    mode,
    second,
)
from tests.known.two_sources import FIRST, another_machine, read_both, rejects, write_first, write_second
from tests.small_runs import StopAfter
from utils.choices import Dedup

__all__ = ["mode"]


def test_a_newer_copy_put_back_after_an_older_one(tmp_path: Path, mode: Dedup) -> None:
    """From one beginning two datasets were made, one of them here: the other takes its place."""
    options: dict[str, Any] = {"dedup": mode, "upload_batch_size": 100}
    write_first(tmp_path, train=first(*CLIPS))
    write_second(tmp_path, test=second(*CLIPS))
    assert read_both(tmp_path, StopAfter(1), **options).interrupted
    other = another_machine(tmp_path, tmp_path / "other")
    read_both(other, resume=True, sources=(FIRST,), **options)
    read_both(tmp_path, resume=True, **options)
    assert len(rejects(tmp_path)) == len(CLIPS)
    shutil.rmtree(tmp_path / "out")
    shutil.copytree(other / "out", tmp_path / "out")

    read_both(tmp_path, resume=True, **options)

    assert_all_are_there(tmp_path, tmp_path / "scratch")
