"""Fixtures of all tests of the paid source."""

import os
from collections.abc import Iterator

import pytest

from tests.apify.support import small_apify
from tests.apify_server import ApifyServer


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes die here, not machines: what was written is there. The order of the flushes is seen all the same."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def apify() -> Iterator[ApifyServer]:
    with small_apify() as server:
        yield server
