"""The tests bite: each law is broken on purpose, and a test goes red.

`MUTANTS` lists how; `python -m tests.mutants` tries them all (`bite.py`), some of them are tried whenever the tests
run (`tests/mutants/test_mutants.py`). Whoever changes a line that is named here changes the mutant with it.
"""

from tests.mutants import books, foreign, keeping, known, listing, paid, protocol, publishing, reading, removing
from tests.mutants.mutant import LAWS, PROTOCOL, Mutant

MUTANTS: tuple[Mutant, ...] = (
    *publishing.MUTANTS,
    *reading.MUTANTS,
    *books.MUTANTS,
    *keeping.MUTANTS,
    *known.MUTANTS,
    *listing.MUTANTS,
    *protocol.MUTANTS,
    *paid.MUTANTS,
    *removing.MUTANTS,
    *foreign.MUTANTS,
)

__all__ = ["LAWS", "MUTANTS", "PROTOCOL", "Mutant"]
