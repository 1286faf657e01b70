"""The command line: what it accepts, what it refuses with exit 2, and what its words say."""

import re
from pathlib import Path

import pytest

from main import main
from pipeline.cli import build_parser, parse
from pipeline.interrupts import StopRequest
from pipeline.options import Command, Options
from pipeline.run.factory import processor_config
from pipeline.run.source_run import fingerprint
from processors import ALIASES, REGISTRY
from utils.errors import UsageError
from utils.rows.schema import DIALOGUE


def test_the_seed_commands_parse() -> None:
    """The commands of the checkpoint documentation are accepted as they stand there."""
    assert parse(["--fresh", "--all"]).sources == tuple(REGISTRY)
    assert parse(["--fresh", "--all", "--resume"]).resume
    assert parse(["--fresh", "--all", "--streaming", "--resume"]).streaming
    assert parse(["--fresh", "--all", "--resume", "--verbose"]).verbose


def test_defaults_are_those_of_the_options() -> None:
    """What is not given on the command line is what `Options` says."""
    assert parse(["--fresh", "--all"]) == Options(fresh=True, sources=tuple(REGISTRY), all_sources=True)


def test_sources_come_in_the_registrys_order_by_any_name() -> None:
    """Aliases and other letter case stand for the same sources; order does not depend on the command."""
    assert parse(["--append", "mozillacv", "gigaspeech2"]).sources == ("GigaSpeech2", "MozillaCommonVoice")


def test_names_of_sources_may_stand_anywhere() -> None:
    assert parse(["--fresh", "FLEURS", "--output", "out", "LOTUS"]).sources == ("FLEURS", "LOTUS")


def test_sample_mode_streams() -> None:
    """Five clips must not cost a download."""
    options = parse(["--fresh", "--all", "--sample"])

    assert (options.sample_size, options.streaming) == (5, True)


def test_no_upload_publishes_to_the_folder() -> None:
    """Even with a repo named."""
    assert parse(["--fresh", "--all", "--hf-repo", "me/x", "--no-upload"]).hf_repo is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--all"], "exactly one of --fresh"),
        (["--fresh", "--append", "--all"], "exactly one of --fresh"),
        (["--fresh"], "Which sources"),
        (["--fresh", "--all", "GigaSpeech2"], "not both"),
        (["--fresh", "GigaSpech2"], "Did you mean GigaSpeech2"),
        (["--fresh", "MyCorpus"], "There is no source 'MyCorpus'. Known: GigaSpeech2"),
        (["--fresh", "all"], "'all' is no source: did you mean --all?"),
        (["list"], "'list' is no source: did you mean --list?"),
        (["--fresh", "LOTUS", "--sources", "."], ". is a folder. Nothing was changed. Name a file of sources"),
        (["--fresh", "NoSuchThing"], f"Known: {', '.join([*REGISTRY, *ALIASES])}"),
        (["--fresh", "--all", "--resume", "--checkpoint", "x.json"], "give one of them"),
        (["--fresh", "--all", "--checkpoint", "no/such.json"], "no checkpoint file"),
        (["--fresh", "--all", "--source-dir", "no/such/folder"], "no folder"),
        (["--fresh", "--all", "--demo", "--source-dir", "."], "--demo makes its own"),
        (["--fresh", "--all", "--hf-repo", "thai-voice"], "USER/NAME"),
        (["--fresh", "--all", "--hf-repo", "me/x", "--output", "y"], "two targets"),
        (["--fresh", "--all", "--private"], "--hf-repo"),
        (["--fresh", "--all", "--verbose", "--quiet"], "not both"),
        (["--fresh", "--all", "--sample-rate", "1"], "8000-192000 Hz"),
        (["--fresh", "--all", "--target-db", "3"], "-60 to 0 dBFS"),
        (["--fresh", "--all", "--source-option", "GigaSpeech2"], "NAME.KEY=VALUE"),
        (["--fresh", "--all", "--source-option", "GigaSpeech2.transcripts=foo"], "transcripts=refined|raw"),
        (["--fresh", "--all", "--hf-repo", "me/a..b"], "USER/NAME"),
        (["--status", "--fresh", "--all"], "command of its own"),
        (["--status", "--list"], "give one of them"),
        (["--prune", "--append", "--all"], "command of its own"),
        (["--prune", "--clear-cache"], "give one of them"),
        (["--fresh", "--all", "--dry-run"], "--repair, --remove ... or --prune"),
        (["--prune", "--same-audio"], "belongs to --repair"),
        (["--prune", "--keep-old"], "--keep-old belongs to --remove"),
        (["--fresh", "Apify"], "--queries queries.yaml"),
        (["--fresh", "Apify", "--demo", "--queries", "q.yaml"], "--demo costs nothing"),
        (["--fresh", "--all", "--queries", "q.yaml"], "--queries is about the paid source"),
        (["--append", "GigaSpeech2", "--max-cost", "3"], "--max-cost is about the paid source"),
        (["--status", "--apify-url", "http://localhost"], "--apify-url is about the paid source"),
        (["--append", "Apify", "--queries", "q.yaml", "--refilter"], "give --fresh with it"),
        (["--fresh", "Apify", "--queries", "q.yaml", "--refilter", "--target", "9"], "--refilter buys nothing"),
        (["--merge", "all.jsonl", "--fresh", "--all"], "command of its own"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_before_anything_runs(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, one message that says what to do instead."""
    with pytest.raises(UsageError, match=re.escape(says)):
        parse(arguments)

    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["--fresh", "--all", "--upload-batch-size", "0"]])
def test_malformed_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """argparse's own refusals leave with the same code."""
    with pytest.raises(SystemExit) as left:
        main(arguments)

    assert left.value.code == 2


def test_what_is_bought_is_no_part_of_what_a_source_was_begun_with() -> None:
    """So that a resume may raise the target and the costs."""
    options = parse(["--fresh", "apify", "--queries", "q.yaml", "--target", "9", "--max-cost", "2.5"])

    assert options.paid_options == {"queries": "q.yaml", "target": "9", "max_cost": "2.5"}
    assert fingerprint(options, "Apify", DIALOGUE) == fingerprint(Options(sources=("Apify",)), "Apify", DIALOGUE)


@pytest.mark.parametrize(("is_newly_begun", "fresh"), [(True, "yes"), (False, None)])
def test_only_a_new_dataset_begins_a_new_collection(is_newly_begun: bool, fresh: str | None) -> None:
    """All else goes on with the newest (`tests/apify/test_fresh.py` has what counts as new)."""
    options = parse(["--fresh", "--resume", "apify", "--queries", "q.yaml"])

    assert processor_config(options, "Apify", None, StopRequest(), is_newly_begun).options.get("fresh") == fresh
    assert "queries" not in processor_config(options, "GigaSpeech2", None, StopRequest()).options


def test_help_groups_the_options_and_shows_examples() -> None:
    """A newcomer finds the first command in it."""
    text = build_parser().format_help()

    for heading in ("going on after an interruption", "sources", "target", "audio", "examples", "exit codes"):
        assert heading in text
    assert "--fresh --all --demo" in text


def test_list_needs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command stands alone."""
    assert parse(["--list"]).command is Command.LIST
