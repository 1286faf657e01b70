"""`docs/adding-a-source.md` is true: its three ways are walked, as they stand there."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from tests.corpus_mirrors import write_files, zip_of
from tests.hub_server import HubServer
from tests.processors.test_own_sources import parquet
from tests.project.test_docs import blocks, program_arguments, run
from tests.runs import PROJECT, copy_project, environment
from tests.support import published_rows, tone

DOCUMENT = (PROJECT / "docs/adding-a-source.md").read_text(encoding="utf-8")


def yaml_block() -> str:
    (found,) = [block.text for block in blocks(DOCUMENT) if block.language == "yaml"]
    return found


def module(name: str) -> str:
    (found,) = [block.text for block in blocks(DOCUMENT) if f"class {name}Processor" in block.text]
    return found


def commands(words: str) -> list[list[str]]:
    (found,) = [block.text for block in blocks(DOCUMENT) if block.language == "bash" and words in block.text]
    return program_arguments(found)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    write_files(tmp_path / "talks", {"data/train-0.parquet": parquet(range(3))})
    with HubServer(tmp_path / "hub") as server:
        server.add_dataset("me/thai-talks", tmp_path / "talks")
        yield server


def with_module(copy: Path, name: str) -> Path:
    """A copy of the project to which a module was added and registered."""
    copy_project(copy)
    file = re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
    (copy / f"processors/{file}.py").write_text(module(name))
    registry = copy / "processors/__init__.py"
    line = f'    "{name}": "processors.{file}",\n'
    assert name != "MyTalks" or line.strip() in DOCUMENT
    registry.write_text(registry.read_text().replace("_SOURCES = {\n", f"_SOURCES = {{\n{line}", 1))
    return copy


def published_ids(folder: Path) -> list[str]:
    return sorted(published_rows(folder, ["source_id"])["source_id"].to_pylist())


def test_the_yaml_makes_the_sources_that_it_says(tmp_path: Path, hub: HubServer) -> None:
    """A folder, an archive and a dataset on the Hub, by the commands that stand there."""
    machine = tmp_path / "machine"
    rows = "path\tsentence\tclient_id\tgender\n{0}.wav\tข้อ {0}\tann\tf\n"
    tables = {f"{name}.tsv": rows.format(name).encode() for name in ("train", "dev", "test")}
    clips = {f"{name}.wav": tone(50 + number) for number, name in enumerate(("train", "dev", "test"))}
    recorded = {"train/metadata.csv": b"file_name,text\na.wav,hello\n", "train/a.wav": tone(99)}
    corpus = {f"my-corpus/{name}": content for name, content in (tables | clips).items()}
    write_files(machine, {**corpus, "recordings.zip": zip_of(recorded), "my.yaml": yaml_block().encode()})

    for arguments in commands("--sources my.yaml"):
        done = run([sys.executable, str(PROJECT / "main.py"), *arguments], machine, {"HF_ENDPOINT": hub.endpoint})
        assert done.returncode == 0, shlex.join(arguments) + done.stdout + done.stderr

    assert published_ids(machine / "data/mine") == [
        "MyCorpus/test/test",
        "MyCorpus/train/train",
        "MyCorpus/validation/dev",
        "MyRecordings/train/a",
        *(f"MyTalks/train/{number}-{xxhash.xxh3_128_hexdigest(tone(number))}" for number in range(3)),
    ]


def test_the_spec_makes_a_source(tmp_path: Path) -> None:
    """Registered with one line, read from a mirror."""
    texts = {"1.wav": "หนึ่ง", "2.wav": {"text": "สอง", "who": "ann"}}
    evenings = {f"mirrors/my-talks/{name}/texts.json": json.dumps(texts).encode() for name in ("monday", "friday")}
    clips = {
        f"mirrors/my-talks/{name}/{n}.wav": tone(10 * at + n)
        for at, name in enumerate(("monday", "friday"))
        for n in (1, 2)
    }
    write_files(tmp_path, evenings | clips)
    project = with_module(tmp_path / "project", "MyTalks")

    for arguments in commands("--fresh MyTalks"):
        done = run([sys.executable, str(project / "main.py"), *arguments], tmp_path, {})
        assert done.returncode == 0, done.stdout + done.stderr

    at = ["--source-dir", "mirrors", "--output", "data/my-talks"]
    look = run([sys.executable, str(project / "main.py"), "--verify", "--source", *at], tmp_path, {})
    assert re.search(r"clips of MyTalks +sound +4 ", look.stdout), look.stdout + look.stderr
    assert published_ids(tmp_path / "data/my-talks") == [
        f"MyTalks/train/{name}/{n}" for name in ("friday", "monday") for n in (1, 2)
    ]


def test_the_code_makes_a_source(tmp_path: Path) -> None:
    """With a clip that is missing: a reject."""
    clips = {f"mirrors/my-tapes/{number:04}.wav": tone(number) for number in (0, 2)}
    write_files(tmp_path, {**clips, "mirrors/my-tapes/texts.txt": "ก\nข\nค\n".encode()})
    project = with_module(tmp_path / "project", "MyTapes")

    for arguments in commands("--fresh MyTapes"):
        done = run([sys.executable, str(project / "main.py"), *arguments], tmp_path, {})
        assert done.returncode == 0, done.stdout + done.stderr

    assert "kept 2 + rejected 1" in done.stdout
    at = ["--source-dir", "mirrors", "--output", "data/my-tapes"]
    look = run([sys.executable, str(project / "main.py"), "--verify", "--source", *at], tmp_path, {})
    assert look.returncode == 0, look.stdout + look.stderr
    assert "its processor can't name its clips but by reading them" in look.stdout
    assert published_ids(tmp_path / "data/my-tapes") == ["MyTapes/train/0000", "MyTapes/train/0002"]


@pytest.mark.parametrize("name", ["MyTalks", "MyTapes"])
def test_the_modules_are_written_as_we_write(name: str, tmp_path: Path) -> None:
    """Who copies one finds the formatter and the linter content."""
    path = tmp_path / "module.py"
    path.write_text(module(name))

    for check in (["format", "--check"], ["check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--config", str(PROJECT / "pyproject.toml"), str(path)]
        done = subprocess.run(ruff, capture_output=True, text=True, env=environment({}))
        assert done.returncode == 0, done.stdout + done.stderr
