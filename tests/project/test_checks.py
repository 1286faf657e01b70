"""pre-commit and CI check what `python -m tests` checks."""

import tomllib
from typing import Any

import yaml

from tests.__main__ import CHECKS
from tests.runs import PROJECT


def read_yaml(path: str) -> Any:
    """All scalars as text: `on` is a key, and 3.10 is not 3.1."""
    return yaml.load((PROJECT / path).read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506 - makes text alone


def test_hooks_run_the_checks_of_the_test_command() -> None:
    """Each check has a hook with the same options, except that the formatter's hook mends, and that hooks get files."""
    (local,) = read_yaml(".pre-commit-config.yaml")["repos"]

    hooks = {hook["id"]: hook["entry"].split(" ") for hook in local["hooks"]}
    assert local["repo"] == "local"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    assert hooks == {
        name: [".venv/bin/python", "-m", *(word for word in command if word not in ("--check", "."))]
        for name, command in CHECKS
    }


def test_ci_runs_on_the_oldest_and_a_newer_python() -> None:
    """On every push and pull request, by the script that is also run by hand."""
    oldest = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    workflow = read_yaml(".github/workflows/ci.yml")
    (job,) = workflow["jobs"].values()
    *_, python, script = job["steps"]

    assert workflow["on"] == ["push", "pull_request"]
    assert job["strategy"]["matrix"]["python"] == [oldest, "3.13"]
    assert python["with"]["python-version"] == "${{ matrix.python }}"
    assert script["run"] == "bash .ci/run"
    assert (PROJECT / ".ci/run").is_file()
