"""Laws 10 and 11: what is known is there, and under a name that stays; and what else needs a look (laws 6, 8, 9)."""

from tests.mutants.mutant import PROTOCOL, Mutant

_THERE = "tests/known/test_what_is_known_is_there.py::test_"

MUTANTS = (
    # --- 10: a duplicate names a clip that is there ------------------------------------------
    Mutant(
        "clips-of-a-source-that-nobody-names-count",
        10,
        "Clips that are staged of a source which the dataset does not name make others duplicates.",
        "pipeline/run/known_clips.py",
        "            if place in ours or place[0] not in state.sources:\n",
        "            if place in ours:\n",
        (f"{_THERE}a_source_that_was_stopped_before_its_first_commit[exact-5]",),
        quick=True,
    ),
    Mutant(
        "unfounded-duplicates-are-published",
        10,
        "A staged duplicate is believed, though the clip that it repeats is neither published nor staged any more.",
        "pipeline/run/known_clips.py",
        "                if gone := missing & named[segment.path]:\n",
        "                if gone := set[str]():\n",
        (f"{_THERE}two_sources_that_were_stopped_before_their_first_commit[exact-7]",),
    ),
    Mutant(
        "index-of-an-undone-dataset-kept",
        10,
        "An index is believed that knows clips which a backup, put back, does not have.",
        "utils/dataset/ledger.py",
        "        return size.isdigit() and int(size) <= len(self.raw) and _mark(self.raw[: int(size)]) == mark\n",
        "        return True\n",
        (
            f"{_THERE}a_backup_from_the_middle_of_a_source[exact-indexes made anew meanwhile]",
            "tests/known/test_dedup.py::test_an_index_that_was_made_from_another_dataset_is_not_believed",
        ),
    ),
    Mutant(
        "index-keeps-clips-of-places-that-are-no-more",
        10,
        "Clips of splits that are neither published nor staged stay in the index.",
        "utils/known/clips.py",
        "            if self.reached(place) != _NOTHING:\n",
        "            if False:\n",
        (
            "tests/known/test_dedup.py::test_what_is_ahead_of_the_clips_is_taken_away",
            f"{_THERE}a_source_that_was_stopped_before_its_first_commit[exact-5]",
        ),
    ),
    Mutant(
        "verify-blind-to-unfounded-duplicates",
        PROTOCOL,
        "`--verify` does not look for the clips that duplicates repeat.",
        "utils/audit/row_checks.py",
        "        for place in chain(nowhere, otherwise):\n",
        "        for place in otherwise:\n",
        (f"{_THERE}verify_finds_a_duplicate_of_a_clip_that_is_not_there",),
    ),
    # --- 11: names that stay -------------------------------------------------------------------
    Mutant(
        "rows-named-by-their-places",
        11,
        "A Parquet row without an id is called by where it stands.",
        "processors/configured/parquet_source.py",
        "RowNaming(by_content=self.naming == 2,",
        "RowNaming(by_content=False,",
        ("tests/readers/test_parquet_names.py::test_a_row_that_is_new_is_read_wherever_it_stands[no paths]",),
        quick=True,
    ),
    Mutant(
        "rows-that-moved-are-guessed-at",
        11,
        "Rows of a newer revision that have no names are passed over by the places of the old ones.",
        "processors/configured/parquet_source.py",
        "may_have_moved=may_have_moved)",
        "may_have_moved=False)",
        ("tests/readers/test_parquet_names.py::test_rows_that_were_named_by_their_places_are_not_guessed_at",),
    ),
    Mutant(
        "names-change-in-the-middle",
        11,
        "A source that was begun by an older rule for its ids goes on by a newer one.",
        "pipeline/run/source_run.py",
        "            self.processor.naming = min(naming_of(begun.fingerprint), self.processor.newest_naming)\n",
        "            begun = replace(begun, fingerprint=fingerprint(self._options, self.name, rows, 2))\n",
        ("tests/readers/test_parquet_names.py::test_a_source_that_was_begun_by_the_old_rule_goes_on_with_it",),
    ),
    # --- 6, 8, 9: looked at, then believed ---------------------------------------------------
    Mutant(
        "other-bytes-of-a-table-are-read",
        6,
        "A source's table that came with other bytes of the same length is used.",
        "utils/sources/remote_file.py",
        "        return self.wanted is None or self.digest.hexdigest() == self.wanted\n",
        "        return True\n",
        ("tests/sources/test_cache.py::test_a_table_that_comes_with_other_bytes_is_not_used[other bytes-None-False]",),
    ),
    Mutant(
        "unlistable-folder-of-a-url-is-empty",
        8,
        "A folder of a URL that can't be listed counts as one without files.",
        "utils/sources/url_files.py",
        "        for about in self._fs.ls(folder, detail=True):\n",
        "        for about in self._fs.ls(folder, detail=True) if folder == self._root else ():\n",
        ("tests/processors/test_own_sources.py::test_a_folder_of_a_url_that_can_not_be_listed_is_not_taken_for_empty",),
    ),
    Mutant(
        "wish-to-begin-anew-noted-late",
        9,
        "A fresh start that dies early leaves no trace: its resume goes on with the old dataset.",
        "pipeline/run/run.py",
        "    _note_fresh(options, _NOT_LOOKED)\n",
        "",
        ("tests/resume/test_fresh_again.py::test_a_fresh_start_killed_while_it_looks_at_its_sources",),
    ),
)
