"""What every test may count on: no real token, no telemetry, and caches in a folder of this session alone.

The Hub's client reads its settings when it is imported, so they are set here, before any test is.
Processes that tests start inherit them.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

_SESSION_FOLDER = Path(tempfile.mkdtemp(prefix="thai-audio-tests-"))

# A developer's own settings must not reach the tests: neither tokens nor another endpoint or cache.
for _name in [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_", "HUGGINGFACE_"))]:
    del os.environ[_name]

os.environ.update(
    HF_HOME=str(_SESSION_FOLDER / "hf"),
    XDG_CACHE_HOME=str(_SESSION_FOLDER / "cache"),
    # Over Xet goes only what tests let go there: it remembers what it has sent, in HF_HOME.
    HF_HUB_DISABLE_XET="1",
    HYPOTHESIS_STORAGE_DIRECTORY=str(_SESSION_FOLDER / "hypothesis"),
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    # The Hub of the tests lives on loopback; a proxy must not stand between.
    NO_PROXY="127.0.0.1,localhost",
    no_proxy="127.0.0.1,localhost",
)


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors here, but for those that the Hub's own client causes inside its HTTP library."""
    config.addinivalue_line("filterwarnings", "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


def pytest_unconfigure() -> None:
    """Leave nothing behind: the session's folder goes with the session."""
    shutil.rmtree(_SESSION_FOLDER, ignore_errors=True)
