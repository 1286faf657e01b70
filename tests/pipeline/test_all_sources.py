"""`--all`: what can be reached is read, the rest is named with the page to visit, and nothing begun is forgotten."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from main import main
from pipeline.cli import parse
from pipeline.run.preflight import reachable
from processors import IN_DEMO, REGISTRY, describe
from tests.small_runs import CLIPS, SOURCE, write_mirror
from tests.support import published_rows

ALL = ["--fresh", "--all", "--source-dir", "mirrors", "--output", "out", "--quiet"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with the mirror of one source."""
    monkeypatch.chdir(tmp_path)
    write_mirror(tmp_path / "mirrors")
    yield tmp_path


def test_of_all_sources_those_with_a_mirror_are_read(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are named with their pages, and that is no failure."""
    assert main(ALL) == 0

    told = " ".join(capsys.readouterr().out.split())
    others = [name for name in REGISTRY if name != SOURCE]
    assert set(published_rows(machine / "out", ["dataset_name"])["dataset_name"].to_pylist()) == {SOURCE}
    assert "Left out" in told
    assert all(
        f"{name}: no folder mirrors/{describe(name).mirror}; see {describe(name).url}" in told for name in others
    )
    assert f"{SOURCE}: " not in told.partition("Left out")[2]


def test_a_source_that_was_begun_is_not_left_out(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mirror that vanished is a failure: its clips are still missing."""
    path = machine / "mirrors" / describe(SOURCE).mirror / "data/train-00000-of-00001.parquet"
    whole = path.read_bytes()
    path.unlink()
    write_mirror(machine / "mirrors", {})
    assert main(ALL) == 4
    (machine / "mirrors").rename(machine / "gone")
    (machine / "mirrors/typhoon-ai/TVSpeech").mkdir(parents=True)

    capsys.readouterr()
    assert main([*ALL, "--resume"]) == 4
    assert f"{SOURCE} could not be read" in capsys.readouterr().out

    (machine / "mirrors/typhoon-ai/TVSpeech").rmdir()
    (machine / "gone" / path.relative_to(machine / "mirrors")).write_bytes(whole)
    (machine / "mirrors/typhoon-ai").rmdir()
    (machine / "mirrors").rmdir()
    (machine / "gone").rename(machine / "mirrors")
    assert main([*ALL, "--resume"]) == 0
    rows = published_rows(machine / "out", ["source_id"])["source_id"].to_pylist()
    assert len(rows) == len(set(rows)) == sum(len(numbers) for numbers in CLIPS.values()) - 4


def test_where_nothing_can_be_reached_each_says_why(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And no dataset is begun."""
    (machine / "empty").mkdir()

    assert main(["--fresh", "--all", "--source-dir", "empty", "--output", "out", "--quiet"]) == 4
    assert "No source can be read" in capsys.readouterr().err
    assert not (machine / "out").exists()


def test_from_the_hub_all_is_what_is_on_it() -> None:
    """Whether a token serves for a gated one only trying it tells."""
    chosen = reachable(parse(["--fresh", "--all"]))

    assert chosen == tuple(name for name in REGISTRY if describe(name).repo_id)
    assert "GigaSpeech2" in chosen and "LOTUS" not in chosen


def test_a_source_that_is_named_is_never_left_out() -> None:
    """Somebody asked for it: why it can't be had is an error."""
    assert reachable(parse(["--fresh", "LOTUS"])) == ("LOTUS",)


def test_the_demo_has_its_own_all() -> None:
    """Sources without a made-up mirror have no part in it; to name one is refused."""
    assert parse(["--fresh", "--all", "--demo"]).sources == IN_DEMO
    assert main(["--fresh", "LOTUS", "--demo"]) == 2


@pytest.mark.parametrize(("key", "expected"), [("", False), ("mdc_key", True)])
def test_a_key_that_serves_makes_a_source_one_that_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, key: str, expected: bool
) -> None:
    """Common Voice is on a site that asks for a key: with one, `--all` takes it."""
    monkeypatch.setenv("MDC_API_KEY", key)

    assert ("MozillaCommonVoice" in reachable(parse(["--fresh", "--all"]))) is expected
