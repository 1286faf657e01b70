"""What the tests of the three founding documents share: a row for each thing that a document says.

`docs/seeds.md` shows the very same rows to readers; `tests/project/test_seeds.py` holds the two together.
"""

from dataclasses import dataclass

KEPT = "kept"
RENAMED = "another name"
DIFFERS = "differs"


@dataclass(frozen=True)
class Row:
    """One thing that a document says."""

    item: str
    here: str
    """KEPT, RENAMED or DIFFERS."""
    witness: str
    """The test that shows it: one of the same file, or `tests/x/test_y.py::test_z`."""
    why: str = ""
    """Of what is not kept: what it is called here, or why it is another way. The readers' table has the same words; of
    what is kept it may say more."""
