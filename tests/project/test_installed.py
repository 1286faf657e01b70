"""The program as an installed command: `thai-audio`, beside the packages of others, from any folder."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from main import what_is_missing
from pipeline.app import explain
from pipeline.commands.version import VERSION
from processors.demo.mirrors import write_demo_sources
from tests.runs import PROJECT, environment, run
from utils.dataset.libraries import library_versions

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script, with what pyproject.toml says is installed in a folder beside it, as pip lays it out."""
    folder = tmp_path_factory.mktemp("installed here")  # a folder with a space
    setuptools = PYPROJECT["tool"]["setuptools"]
    for pattern in setuptools["packages"]["find"]["include"]:
        (package,) = PROJECT.glob(pattern)
        shutil.copytree(package, folder / "site-packages" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    for module in setuptools["py-modules"]:
        shutil.copy(PROJECT / f"{module}.py", folder / "site-packages")
    ((name, entry),) = PYPROJECT["project"]["scripts"].items()
    module, function = entry.split(":")
    script = folder / name
    (folder / "site-packages/thai_audio_dataset_collection-0.dist-info").mkdir()
    (folder / "site-packages/thai_audio_dataset_collection-0.dist-info/direct_url.json").write_text(
        '{"url": "https://example.org/it.git", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}'
    )
    begin = f"import sys\nsys.path[0] = {str(folder / 'site-packages')!r}\n"
    script.write_text(f"{begin}from {module} import {function}\nsys.exit({function}())\n")
    return script


def call(command: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, str(command), *arguments]
    return subprocess.run(given, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)


def test_the_command_is_the_program_from_any_folder(command: Path, tmp_path: Path) -> None:
    """It does the demo, resumes it, and writes below the current folder alone."""
    before = {path for path in command.parent.rglob("*") if "__pycache__" not in path.parts}

    done = call(command, tmp_path, "--fresh", "--all", "--demo")
    again = call(command, tmp_path, "--fresh", "--all", "--demo", "--resume")

    assert done.returncode == 0, done.stderr
    assert "The books balance" in done.stdout
    assert again.returncode == 0, again.stderr
    assert {path for path in command.parent.rglob("*") if "__pycache__" not in path.parts} == before
    assert (tmp_path / "data/thai-voice/.ingest/state.json").is_file()


def test_what_it_says_to_type_is_the_command(command: Path, tmp_path: Path) -> None:
    """In the help, in errors, and at the end of a run that is not done."""
    helped = call(command, tmp_path, "--help").stdout
    refused = call(command, tmp_path, "--fresh").stderr
    nothing = call(command, tmp_path, "--status").stdout
    next(write_demo_sources(tmp_path / "mirrors").rglob("train*.parquet")).write_bytes(b"not Parquet")
    failed = call(command, tmp_path, "--fresh", "ProcessedVoiceTH", "--source-dir", "mirrors").stdout

    assert "main.py" not in helped + refused + nothing + failed
    assert "\n  thai-audio --fresh --all --demo " in helped
    beside = [re.search(r"  (?=try it|five clips|what is published|recompute)", line) for line in helped.splitlines()]
    assert len({found.end() for found in beside if found}) == 1, "the column of what the examples do"
    assert refused.startswith("thai-audio: ")
    assert "`thai-audio --fresh --all`" in nothing
    assert re.search(r"(?m)^ *thai-audio --fresh ProcessedVoiceTH --source-dir mirrors --resume$", failed)


def test_version_names_what_decides_the_bytes(command: Path, tmp_path: Path) -> None:
    """And the commit: of a checkout where git is there, else the one that pip installed from a repository."""
    installed, checkout = call(command, tmp_path, "--version"), run(["--version"], tmp_path)

    assert installed.returncode == checkout.returncode == 0, installed.stderr + checkout.stderr
    python = ".".join(map(str, sys.version_info[:3]))
    assert installed.stdout.splitlines()[0] == f"thai-audio {VERSION} (commit 0123456), CPython {python}"
    for name, number in library_versions().items():
        assert f"{name} {number}" in checkout.stdout
    if shutil.which("git") and (PROJECT / ".git").exists():
        head = ["git", "-C", str(PROJECT), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
        assert f"(commit {commit}" in checkout.stdout


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("utils/text/normalize.py", "in utils/text/normalize.py, line 1"),
        ("my_processor.py", "in my_processor.py, line 1"),
        (".venv/lib/python3.11/site-packages/utils/text.py", None),
        ("/usr/lib/python3/dist-packages/requests/api.py", None),
    ],
)
def test_a_bug_is_not_laid_at_the_door_of_others(
    place: str, named: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other libraries' files may lie beside ours, or below: they are not named as ours."""
    try:
        exec(compile("1 / 0", str(PROJECT / place), "exec"))  # noqa: S102 - an error that comes from that file
    except ZeroDivisionError as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        explain(error, tmp_path)

    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert (named in told) if named else (" in " + place not in told and ", line" not in told)


@pytest.mark.parametrize(("place", "is_named"), [("utils/text/normalize.py", True), ("requests/api.py", False)])
def test_what_lies_beside_the_installed_program_is_not_ours(
    place: str, is_named: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pip puts it, the packages of others have the same parent folder."""
    monkeypatch.setattr("pipeline.app._PROJECT", tmp_path)
    try:
        exec(compile("1 / 0", str(tmp_path / place), "exec"))  # noqa: S102
    except ZeroDivisionError as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        explain(error, tmp_path)

    assert (f"in {place}, line 1" in capsys.readouterr().err) is is_named


@pytest.mark.parametrize(
    ("module", "program", "words"),
    [
        ("processors.source_spec", "main.py", "a source that you added imports"),
        ("yaml", "main.py", ".venv/bin/python main.py"),
        ("yaml", "thai-audio", "pipx install --force"),
    ],
)
def test_a_missing_module_says_what_to_do(
    module: str, program: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ours: a source has an old name of it. Of others: the wrong Python, or half an installation."""
    monkeypatch.setattr("main.PROGRAM", program)

    assert words in what_is_missing(module)
