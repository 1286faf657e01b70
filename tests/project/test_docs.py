"""The documents are true: what they show runs, and what they name is there.

The README is walked through once, from its first line to its last, in a working folder of its own: commands in
processes of their own, against the tests' Hub, which also has the sources; Python blocks as scripts. Only the
lines that install are left out, and the examples, which `tests/project/test_examples.py` runs.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.cli import EXAMPLES, build_parser, parse
from pipeline.interrupts import INTERRUPTED
from processors import ALIASES, REGISTRY, describe
from processors.demo.mirrors import write_demo_sources
from tests.apify.support import posts
from tests.apify_server import TOKEN as APIFY_TOKEN
from tests.apify_server import ApifyServer
from tests.hub_server import TOKEN, USER, HubServer
from tests.mutants import MUTANTS
from tests.runs import PROJECT, copy_project, environment
from utils import errors
from utils.rows.schema import published_schema

README = (PROJECT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8")
    for folder in (PROJECT, PROJECT / "docs")
    for path in folder.glob("*.md")
}
TEST_COMMAND_MARK = "<!-- the test command -->"
NEW_SOURCE, NEW_DEMO = "processors/my_corpus.py", "processors/demo/my_corpus.py"
"""The files that "Add a source" has one write."""

NEW_FILES = {NEW_SOURCE, NEW_DEMO, "processors/my_talks.py", "processors/my_tapes.py"}
MADE_BY_READERS = ("MyCorpus", "MyTalks", "MyTapes", "my.yaml")
"""Sources, and a file of them, that the documents have one write: `tests/project/test_adding_a_source.py` does."""

every_document = pytest.mark.parametrize("document", sorted(DOCUMENTS))


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def block_with(language: str, words: str) -> Block:
    (found,) = [block for block in blocks(README) if block.language == language and words in block.text]
    return found


def program_arguments(text: str) -> list[list[str]]:
    """The arguments of each call of `main.py` in shell text, comments and what follows in columns left out."""
    lines = re.sub(r"(&&|\|\||\\)\n", r"\1 ", text).splitlines()
    calls = [re.search(r"\bmain\.py( .*)?$", line.split(" #")[0]) for line in lines]
    return [shlex.split(re.split(r"   | && ", call[1] or "")[0]) for call in calls if call]


# --- the walk --------------------------------------------------------------------------------


@dataclass
class Walk:
    """What came of each block of the README, in its order."""

    machine: Path
    """The working folder."""
    outputs: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    """What was run -> how it ended."""
    after: dict[str, str] = field(default_factory=dict)
    """A block's text -> what the block before it printed."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("walk")
    machine = folder / "machine"
    sources = write_demo_sources(machine / "data/demo-sources")  # where --demo finds them made already
    (machine / "mirrors").symlink_to(sources)
    with HubServer(folder / "hub") as hub, ApifyServer() as apify:
        apify.add_actor("apidojo/tweet-scraper", posts, statuses=("SUCCEEDED",))
        for name in ("GigaSpeech2", "ProcessedVoiceTH"):
            mirror = describe(name).mirror
            hub.add_dataset(mirror, sources / mirror, gated=describe(name).access.startswith("gated"), allowed=(USER,))
        walked = Walk(machine)
        servers = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "APIFY_API_BASE_URL": apify.url}
        walk_through(walked, {**servers, "APIFY_TOKEN": APIFY_TOKEN}, folder / "with-a-new-source")
        yield walked


def walk_through(walked: Walk, hub: dict[str, str], new_project: Path) -> None:
    project, printed = PROJECT, ""
    for block in blocks(README):
        walked.after[block.text] = printed
        printed = ""
        if block.language == "yaml":
            (walked.machine / "queries.yaml").write_text(block.text)
        if block.language == "python" and NEW_SOURCE in block.text:
            project = with_new_source(new_project, block.text)
        elif block.language == "python" and NEW_DEMO in block.text:
            (project / NEW_DEMO).write_text(block.text)
        elif block.language == "python":
            # What reads a dataset from the disk must not need the network.
            done = run([sys.executable, "-c", block.text], walked.machine, {"HF_HUB_OFFLINE": "1"})
            walked.outputs[block.text] = done
        for arguments in program_arguments(block.text) if block.language == "bash" else []:
            done = run([sys.executable, str(project / "main.py"), *arguments], walked.machine, hub)
            walked.outputs[shlex.join(arguments)] = done
            printed += done.stdout


def run(command: list[str], machine: Path, extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=machine, env=environment(extra), capture_output=True, text=True, timeout=120)


def with_new_source(copy: Path, module: str) -> Path:
    """A copy of the project to which a source was added as the README says: one file, one line."""
    copy_project(copy)
    (copy / NEW_SOURCE).write_text(module)
    (line,) = re.findall(r'`("\w+": "processors\.\w+",)`', README)
    registry = copy / "processors/__init__.py"
    begun, listed, rest = re.split(r"(?m)^(_SOURCES = \{.*?^)(?=\})", registry.read_text(), maxsplit=1, flags=re.DOTALL)
    registry.write_text(f"{begun}{listed}    {line}\n{rest}")
    return copy


def test_everything_that_the_readme_shows_runs(walk: Walk) -> None:
    """Each command leaves with 0, and each Python block comes to its end, one after the other as they stand there."""
    failed = [f"{what}\n{done.stdout}{done.stderr}" for what, done in walk.outputs.items() if done.returncode]

    assert failed == []
    assert len(walk.outputs) >= 10


def test_the_output_that_is_shown_is_what_comes_out(walk: Walk) -> None:
    """The figures in the README are those that the command above them prints."""
    shown = block_with("text", "The books balance")

    printed = [line.strip() for line in walk.after[shown.text].splitlines()]
    assert [line for line in shown.text.splitlines() if line.strip() not in printed] == []


def test_the_files_that_are_shown_are_there(walk: Walk) -> None:
    """A newcomer finds the dataset laid out as the README says."""
    folder, *files = block_with("text", "state.json").text.splitlines()

    dataset = walk.machine / folder.split()[0]
    assert files
    assert [line for line in files if not (dataset / line.split()[0]).is_file()] == []


def test_the_new_source_is_read(walk: Walk) -> None:
    """From one file and one line."""
    assert "kept 120 = published 120" in walk.outputs["--fresh MyCorpus --demo --output data/my-corpus"].stdout


@pytest.mark.parametrize("name", [NEW_SOURCE, NEW_DEMO])
def test_the_new_source_is_written_as_we_write(tmp_path: Path, name: str) -> None:
    """Who copies the example finds the formatter and the linter content."""
    module = tmp_path / "my_corpus.py"
    module.write_text(block_with("python", name).text)

    for check in (["format", "--check"], ["check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--config", str(PROJECT / "pyproject.toml"), str(module)]
        done = subprocess.run(ruff, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# --- commands --------------------------------------------------------------------------------


def test_the_first_two_commands_install_and_run() -> None:
    """In a virtual environment (Debian's Python refuses anything else), from requirements that are there."""
    first, second = blocks(README)[0], blocks(README)[2]

    for command, ends in ((first, "main.py --fresh --all --demo\n"), (second, "python -m tests\n")):
        assert command.language == "bash"
        assert command.text.endswith(ends)
        assert "python3 -m venv .venv" in command.text
        assert all((PROJECT / name).is_file() for name in re.findall(r"-r (\S+)", command.text))
        assert "-c constraints.txt" in command.text
        assert subprocess.run(["/usr/bin/env", "bash", "-n", "-c", command.text]).returncode == 0


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """The mark that `.ci/run` looks for stands right before that block, once."""
    assert README.count(f"{TEST_COMMAND_MARK}\n```bash\n{blocks(README)[2].text}```\n") == 1
    assert README.count(TEST_COMMAND_MARK) == 1
    assert TEST_COMMAND_MARK in (PROJECT / ".ci/run").read_text()


@every_document
def test_every_command_that_is_shown_is_one(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fenced or in a sentence, also where only a real corpus or the real Hub could carry it out."""
    monkeypatch.chdir(tmp_path)
    for name in ("mirrors", "checkpoints", "data/my-recordings"):
        Path(name).mkdir(parents=True)
    Path("checkpoints/GigaSpeech2_unified_checkpoint.json").write_text("{}")
    shutil.copytree(PROJECT / "examples", "examples")
    shown = [block.text for block in blocks(DOCUMENTS[document]) if block.language == "bash"]
    shown += re.findall(r"`(python main\.py [^`]*)`", DOCUMENTS[document])

    refused = {}
    for arguments in program_arguments("\n".join([*shown, EXAMPLES])):
        if not set(arguments) & {"--help", *MADE_BY_READERS}:
            refused[shlex.join(arguments)] = why_refused(lambda given=arguments: parse(given))

    assert {command: why for command, why in refused.items() if why} == {}


def why_refused(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except (errors.UsageError, SystemExit) as error:
        return str(error) or "refused"
    return ""


@every_document
def test_every_option_that_is_named_exists(document: str) -> None:
    """A renamed option is renamed everywhere."""
    ours = options_in(build_parser().format_help())
    other = r"python (benchmarks/\w+\.py|-m tests\.\w+)([^`\n]*)"
    of_main = re.sub(rf"{other}|pipx? install[^`\n]*", "", DOCUMENTS[document])

    assert options_in(of_main) - ours == set()
    for program, given in re.findall(other, DOCUMENTS[document]):
        assert options_in(given) == set() or options_in(given) <= options_in(source_of(program))


def source_of(program: str) -> str:
    """The text of what `python` is given: a file, or `-m` and a module or package of ours."""
    if program.endswith(".py"):
        return (PROJECT / program).read_text()
    module = PROJECT / program.removeprefix("-m ").replace(".", "/")
    return (module / "__main__.py" if module.is_dir() else module.with_suffix(".py")).read_text()


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


# --- what is named is there ------------------------------------------------------------------


@every_document
def test_every_file_that_is_named_exists(document: str) -> None:
    """A moved file is moved everywhere."""
    folders = "utils|pipeline|processors|tests|benchmarks|docs|examples"
    file = rf"(?<![\w./-])((?:main\.py|[A-Z]+\.md|(?:{folders})/[\w/]+\.(?:py|md|sh|yaml)))\b"
    named = set(re.findall(file, DOCUMENTS[document]))

    missing = {name for name in named - NEW_FILES if not (PROJECT / name).is_file()}
    assert missing == set()


@every_document
def test_every_module_that_is_run_exists(document: str) -> None:
    """`python -m x`: one of ours, or a tool that is installed for the tests."""
    named = set(re.findall(r"python3? -m ([\w.]+)", DOCUMENTS[document]))

    assert {name for name in named if find_spec(name) is None} == set()


def test_the_test_and_the_mutant_that_are_shown_exist() -> None:
    """`CONTRIBUTING.md` shows how to run one of each."""
    ((path, test),) = re.findall(r"pytest (\S+) -k (\w+)", DOCUMENTS["CONTRIBUTING.md"])
    (mutant,) = re.findall(r"tests\.mutants ([a-z]\S+)", DOCUMENTS["CONTRIBUTING.md"])

    assert f"def test_{test}" in (PROJECT / path).read_text()
    assert mutant in {known.name for known in MUTANTS}


@every_document
def test_every_function_named_beside_its_file_is_in_it(document: str) -> None:
    """`utils/x.py` (`f`, `g`): the document says where to look, and it is there."""
    named = re.findall(r"`([\w/]+\.py)` \(((?:`[\w.]+`(?:, )?)+)\)", DOCUMENTS[document])

    missing = [
        (path, name)
        for path, names in named
        for name in re.findall(r"`([\w.]+)`", names)
        if not re.search(rf"(def|class) {name.split('.')[-1]}\b", (PROJECT / path).read_text())
    ]
    assert missing == []


def test_every_test_that_the_laws_name_exists() -> None:
    """A law without its test is a wish."""
    missing, file = [], ""
    for named, function in re.findall(r"`(tests/\w+/test_\w+\.py)?(?:::(test_\w+))?`", DOCUMENTS["laws.md"]):
        file = named or file
        path = PROJECT / file
        if file and not (path.is_file() and (not function or f"def {function}(" in path.read_text())):
            missing.append(f"{file}::{function}")

    assert missing == []


def test_the_columns_are_those_of_the_schema() -> None:
    """None is missing, and in the table they are in their order but for those told together."""
    table = README.partition("| column |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]

    assert sorted(named) == sorted(published_schema(16_000).names)


def test_the_sources_are_those_of_the_registry() -> None:
    """With the hours and licences that `--list` shows."""
    table = README.partition("| name | hours |")[2].partition("\n\n")[0].splitlines()[2:]

    assert [re.findall(r"`(\w+)`", row)[0] for row in table] == list(REGISTRY)
    for name, row in zip(REGISTRY, table, strict=True):
        assert describe(name).hours in row
        assert describe(name).licence_name in row
    assert all(f"`{alias}`" in "".join(table) for alias in ALIASES)


def test_the_exit_codes_are_those_of_the_errors() -> None:
    """The README's table and `--help` have every one."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {0, INTERRUPTED, *(kind.exit_code for kind in classes if issubclass(kind, errors.IngestError))}
    table = README.partition("| exit code |")[2].partition("\n\n")[0]

    assert {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", table)} == codes
    assert {int(code) for code in re.findall(r"(?m)(?:^|  )(\d+) \w", EXAMPLES.partition("exit codes:")[2])} == codes
