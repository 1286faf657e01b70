"""The floors of the house: imports point down, and what is costly to import is imported late.

main -> pipeline -> processors -> utils
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
FLOORS = {
    "utils": {"main", "pipeline", "processors", "tests"},
    "processors": {"main", "pipeline", "tests"},
    "pipeline": {"main", "tests"},
}
"""What each floor may not import: whatever stands above it."""
NOT_FOR_PROCESSORS = {
    f"utils.{name}"
    for name in (
        "streaming",
        "staging",
        "targets",
        "hub_target",
        "publisher",
        "shards",
        "seen",
        "lock",
        "card",
        "dedup",
    )
}
"""A processor can neither upload nor remember, because it can't see who does."""


def modules(floor: str) -> list[Path]:
    return sorted((PROJECT / floor).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it; `from a import b` is both `a` and `a.b`."""
    package = path.relative_to(PROJECT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor: str) -> None:
    """No floor knows of the ones above it."""
    upward = {
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in modules(floor)
        for name in imports(path)
        if name.split(".")[0] in FLOORS[floor]
    }

    assert modules(floor)
    assert upward == set()


def test_processors_cannot_upload_or_remember() -> None:
    """Nothing in `processors/` imports the uploader, the staging, a target or who writes to one."""
    assert all((PROJECT / f"{name.replace('.', '/')}.py").is_file() for name in NOT_FOR_PROCESSORS)
    forbidden = {
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in modules("processors")
        for name in imports(path)
        if name in NOT_FOR_PROCESSORS
    }

    assert forbidden == set()


def test_utils_has_never_heard_of_a_corpus() -> None:
    """No source's name stands in the code of `utils/`: whatever a corpus needs lives in its own file."""
    from processors import REGISTRY

    heard = {
        (path.name, name)
        for path in modules("utils")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in REGISTRY
        if name in (getattr(node, "id", ""), getattr(node, "attr", ""))
        or (isinstance(node, ast.Constant) and node.value == name)
    }

    assert heard == set()


OUTSIDE_THE_WRITE_LAYER = {
    "utils/disk/durable.py": "it is the layer",
    "utils/audit/repeats.py": "scratch files of --verify, in a temporary folder",
    "utils/audio/memory_file.py": "a file in memory",
    "pipeline/terminal/logs.py": "the log, which no promise rests on",
    "processors/demo/mirrors.py": "the demo's made-up sources, which are made anew",
    "processors/demo/processed_voice_th.py": "the demo's made-up sources, which are made anew",
}
DISK_EFFECTS = {
    *("write_bytes", "write_text", "unlink", "rename", "mkdir", "rmdir", "touch", "symlink_to", "hardlink_to"),
    *("makedirs", "rmtree", "copyfile", "copy2", "move", "truncate"),
}


def disk_effects(path: Path) -> Iterator[str]:
    """The calls in a file that change the disk, but for those that stand in a block of `step`."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.With) and any("step(" in ast.unparse(item.context_expr) for item in node.items):
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, given = node.func.attr, [ast.unparse(argument) for argument in node.args]
            writes = name == "open" and any(mode[:1] in "'" and set(mode) & set("wax+") for mode in given)
            if writes or name in DISK_EFFECTS or (name == "replace" and "os" in ast.unparse(node.func.value)):
                yield f"{path.relative_to(PROJECT)}:{node.lineno} {ast.unparse(node.func)}"
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")))


def test_all_writing_goes_through_one_layer() -> None:
    """What is written, renamed or deleted elsewhere, the crash tests would not know of."""
    found = [
        effect
        for floor in FLOORS
        for path in modules(floor)
        if path.relative_to(PROJECT).as_posix() not in OUTSIDE_THE_WRITE_LAYER
        for effect in disk_effects(path)
    ]

    assert found == []
    assert any(disk_effects(PROJECT / "utils/audit/repeats.py"))  # it is able to find them


LATE = ("huggingface_hub", "datasets", "pythainlp", "torch", "pandas", "matplotlib")
"""Libraries that take a second to import."""
WITH_WORK = (*LATE, "numpy", "pyarrow", "soundfile", "soxr", "tqdm", "yaml")


def test_starting_is_cheap() -> None:
    """A run does not wait for libraries that it may not need."""
    loaded = imported_by("import main, pipeline.app")

    assert not {name for name in LATE if name in loaded}


def test_a_run_does_not_load_pandas() -> None:
    """pyarrow loads it for the first array, where it is installed; who asks for it later still gets it."""
    first = "import pyarrow as pa; from utils.process.memory import spare_pandas; spare_pandas(); a = pa.array(['a'])"

    assert "pandas" in imported_by("import pyarrow as pa; a = pa.array(['a'])")
    assert "pandas" not in imported_by(first)
    assert "pandas" in imported_by(f"{first}; a.to_pandas()")


@pytest.mark.parametrize("arguments", [["--list"], ["--fresh", "--append"], ["--fresh", "GigaSpech2"]])
def test_an_answer_without_work_loads_nothing_for_it(arguments: list[str]) -> None:
    """`--list` and a wrong command line don't wait for Arrow; nor does `--help`, which argparse answers before."""
    loaded = imported_by(f"import main; main.main({arguments!r})")

    assert "argparse" in loaded
    assert not {name for name in WITH_WORK if name in loaded}


def test_importing_the_program_writes_nothing(tmp_path: Path) -> None:
    """Importing every module makes no file and no folder, neither here nor at home."""
    names = [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for floor in FLOORS
        for path in modules(floor)
        if path.name != "__init__.py"
    ]

    imported_by(f"import main, {', '.join(names)}", here=tmp_path)

    assert list(tmp_path.rglob("*")) == []


def imported_by(statement: str, here: Path = PROJECT) -> set[str]:
    """The top-level modules that a new Python has after `statement`, run in its home `here`."""
    script = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=here,
        env={"HOME": str(here), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.split()}
