"""`docs/seeds.md` and the tests of the three founding documents have the same rows, and each row has its test."""

import re
from pathlib import Path

import pytest

from tests.project import test_seed_append_only_master as append_only_master
from tests.project import test_seed_checkpoint_system as checkpoint_system
from tests.project import test_seed_duplicate_uploads as duplicate_uploads
from tests.project.founding import DIFFERS, KEPT, RENAMED, Row
from tests.runs import PROJECT

READERS = (PROJECT / "docs/seeds.md").read_text(encoding="utf-8")
TABLES = {
    "Checkpoints": checkpoint_system,
    "Samples that were uploaded twice": duplicate_uploads,
    "Bought dialogue": append_only_master,
}
EVERY = [(Path(str(module.__file__)), row) for module in TABLES.values() for row in module.ROWS]


def readers_rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = READERS.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("heading", TABLES)
def test_readers_find_the_same_rows(heading: str) -> None:
    """In the same order, with the same verdict, and the same reason where something is another way."""
    rows = readers_rows(heading)

    assert [row[:2] for row in rows] == [[each.item, each.here] for each in TABLES[heading].ROWS]
    assert [row[2] for row in rows if row[1] != KEPT] == [
        each.why for each in TABLES[heading].ROWS if each.here != KEPT
    ]


def test_no_other_table() -> None:
    """Every heading of the readers is one of ours."""
    assert re.findall(r"(?m)^## (.+)$", READERS) == list(TABLES)


@pytest.mark.parametrize(("file", "row"), EVERY, ids=[row.item for _, row in EVERY])
def test_each_row_has_its_test(file: Path, row: Row) -> None:
    """One that is there; what is not kept has a reason, too."""
    path, _, name = row.witness.rpartition("::")
    text = (PROJECT / path if path else file).read_text(encoding="utf-8")

    assert re.search(rf"(?m)^def {name}\(", text), row.witness
    assert row.here in (KEPT, RENAMED, DIFFERS) and bool(row.why) == (row.here != KEPT)


def test_each_test_of_theirs_shows_a_row() -> None:
    """A test that no row names belongs elsewhere."""
    for module in TABLES.values():
        tests = {name for name in vars(module) if name.startswith("test_")}

        assert tests == {row.witness for row in module.ROWS if "::" not in row.witness}
