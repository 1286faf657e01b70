"""What comes from others: it is neither believed, nor followed, nor shown as it is."""

from tests.mutants.mutant import Mutant

_LINKS = "tests/sources/test_folder_links.py"

MUTANTS = (
    Mutant(
        "link-out-of-a-corpus-followed",
        11,
        "A link in a corpus is read wherever it leads.",
        "utils/sources/folder_files.py",
        "                if entry.is_symlink():\n                    self._check_link(entry)\n",
        "",
        (f"{_LINKS}::test_a_link_out_of_the_corpus_stops_the_source",),
        quick=True,
    ),
    Mutant(
        "link-compared-as-text",
        11,
        "A folder whose name only begins like the corpus' counts as part of it.",
        "utils/sources/folder_files.py",
        "os.path.commonpath((real, place)) == place",
        "real.startswith(place)",
        (f"{_LINKS}::test_a_link_out_of_the_corpus_stops_the_source",),
    ),
)
