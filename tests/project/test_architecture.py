"""The law of rooms: imports point down, between the floors and between the rooms; what is costly is imported late.

main -> pipeline -> processors -> utils
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HOUSE = ("utils", "processors", "pipeline")
"""From the ground up; `main.py` is the roof."""

ROOMS = {
    "utils": (
        ("errors", "rows", "process"),
        ("choices", "disk"),
        ("audio", "text", "sources"),
        ("formats",),
        ("dataset",),
        ("known", "checkpoint"),
        ("upload",),
        ("streaming",),
        ("audit",),
        ("finding",),
    ),
    "processors": (
        ("engine", "source_info"),
        ("readers", "catalog"),
        ("listing",),
        ("base_processor",),
        ("configured", "apify"),
        ("gigaspeech2", "processed_voice_th", "mozilla_cv", "lotus"),
        ("corpora",),
        ("",),  # the registry, in `__init__.py`
        ("demo",),
    ),
    "pipeline": (
        ("interrupts", "options", "explain", "supervisor"),
        ("terminal",),
        ("run",),
        ("commands",),
        ("cli", "app"),
    ),
}
"""The rooms of each floor (folders, and files that stand alone), lowest first. A room imports rooms of lower rows."""

BELOW = {
    "processors": {
        "utils": ("errors", "rows", "process", "choices", "disk", "audio", "text", "sources", "formats", "checkpoint")
    },
    "pipeline": {"utils": None, "processors": None},
}
"""What a floor may import of the floors below it; None: everything.

A processor can neither upload nor remember, because it can't see who does.
"""
MAX_FILES = 14
"""Of a room; with more it is two."""


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


def room_of(module: str) -> tuple[str, str]:
    """(floor, room) of a module: its folder, or its own name where it stands alone."""
    floor, _, rest = module.partition(".")
    return floor, rest.partition(".")[0]


def name_of(path: Path) -> str:
    """The dotted name of a file; that of its folder for an `__init__.py`."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


ALL = {name_of(path): path for floor in HOUSE for path in modules(floor)}


def imported_modules(path: Path) -> set[str]:
    """The modules of the house, or `main`, that a file imports; `from a import b` is `a.b` where that is one."""
    found = set(imports(path))
    return {name for name in found if name in ALL or name == "main"} - {
        name.rpartition(".")[0] for name in found if name in ALL and name.rpartition(".")[0] in found
    }


def is_allowed(module: str, imported: str) -> bool:
    """Whether the table lets the one import the other."""
    (floor, room), (other_floor, other) = room_of(module), room_of(imported)
    if floor != other_floor:
        allowed = BELOW.get(floor, {}).get(other_floor, ())
        return allowed is None or other in allowed
    row = {name: number for number, names in enumerate(ROOMS[floor]) for name in names}
    return room == other or row[other] < row[room]


def test_imports_follow_the_table_of_rooms() -> None:
    """Down between the floors, down between the rooms of a floor, and a processor sees no uploader."""
    wrong = [
        f"{path.relative_to(PROJECT)} imports {imported}"
        for module, path in ALL.items()
        for imported in sorted(imported_modules(path))
        if not is_allowed(module, imported)
    ]

    assert wrong == []
    assert sum(len(imported_modules(path)) for path in ALL.values()) > 500


def test_who_lists_a_source_shares_no_loop_with_who_reads_it() -> None:
    """Only rules for names, the forms of tables and of files: else it would overlook what the reader overlooks."""
    shared = {
        f"processors.{module}"
        for module in (
            *("engine.clip_names", "engine.listed", "engine.unreadable"),
            *("readers.spec", "readers.table_forms", "readers.table_names", "readers.held_out"),
        )
    }
    allowed = {"processors.readers.release_folder.TableLayout", *shared}

    listing = [path for module, path in ALL.items() if module.startswith("processors.listing.")]
    used = {
        name
        for path in listing
        for name in imports(path)
        if name.startswith("processors.") and not name.startswith("processors.listing")
    }
    wrong = {name for name in used if name not in allowed and name.rpartition(".")[0] not in shared}
    assert len(listing) >= 4
    assert wrong == {"processors.readers.release_folder"}  # the module of the value that is allowed


def test_every_room_has_its_place_in_the_table() -> None:
    """A new folder or file is placed before it is used, and none is listed that is gone."""
    there = {room_of(module) for module in ALL}

    listed = {(floor, room) for floor, rows in ROOMS.items() for names in rows for room in names}
    assert there - {("utils", ""), ("pipeline", "")} == listed


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Also within a room: one of two that need each other can be read first."""
    left = {module: imported_modules(path) - {module} for module, path in ALL.items()}
    while free := {module for module, needed in left.items() if not needed & set(left)}:
        left = {module: needed for module, needed in left.items() if module not in free}

    assert sorted(left) == []


@pytest.mark.parametrize("floor", HOUSE)
def test_rooms_are_small_and_say_what_they_are_for(floor: str) -> None:
    """A room's `__init__.py` has a docstring and nothing else, so that importing one module loads only that."""
    for folder in {path.parent for path in modules(floor)}:
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))

        assert len(list(folder.glob("*.py"))) - 1 <= MAX_FILES, folder
        assert ast.get_docstring(tree), folder
        assert folder == PROJECT / "processors" or len(tree.body) == 1, folder


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
        for floor in HOUSE
        for path in modules(floor)
        if path.relative_to(PROJECT).as_posix() not in OUTSIDE_THE_WRITE_LAYER
        for effect in disk_effects(path)
    ]

    assert found == []
    assert any(disk_effects(PROJECT / "utils/audit/repeats.py"))  # it is able to find them


LATE = ("huggingface_hub", "datasets", "pythainlp", "torch", "pandas", "matplotlib")
"""Libraries that take a second to import."""
WITH_WORK = (*LATE, "numpy", "pyarrow", "soundfile", "soxr", "tqdm", "yaml", "logging", "socket")


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
        for floor in HOUSE
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
