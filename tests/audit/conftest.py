"""Fixtures of several test modules."""

import shutil
from pathlib import Path

import pytest

from tests.audit.voices import voices_run, write_voices


@pytest.fixture(scope="session")
def voices_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a published dataset of several voices."""
    machine = tmp_path_factory.mktemp("voices")
    write_voices(machine / "mirrors")
    voices_run(machine)
    return machine


@pytest.fixture
def voices(voices_made: Path, tmp_path: Path) -> Path:
    """Another machine with the same."""
    for name in ("mirrors", "out"):
        shutil.copytree(voices_made / name, tmp_path / name)
    return tmp_path
