"""Law 11: readers that overlook a clip and do not count it, which a dataset by itself can't tell; and a look at the
sources that does not see it.
"""

from tests.mutants.mutant import Mutant

_TESTS = "tests/audit/test_against_sources.py::"
_IN_PART = f"{_TESTS}test_a_source_that_is_read_in_part_is_held_against_that_part"
_LACKING = "tests/processors/test_partial_copies.py::test_a_row_whose_clip_is_not_there_gets_none"
_PLANTED = "tests/audit/test_planted.py::test_what_was_planted_is_found_by_its_name"

MUTANTS = (
    Mutant(
        "member-of-a-tar-overlooked",
        11,
        "The third clip of each archive is passed over, and counted nowhere.",
        "processors/readers/tar.py",
        "            read += 1\n            after: Position = {",
        "            if number == 3:\n                continue\n            read += 1\n            after: Position = {",
        (f"{_IN_PART}[GigaSpeech2]",),
    ),
    Mutant(
        "row-of-parquet-overlooked",
        11,
        "The second row of each row group is passed over, and counted nowhere.",
        "processors/readers/parquet.py",
        "                    if naming.may_have_moved and",
        "                    if row == 1:\n"
        "                        continue\n"
        "                    if naming.may_have_moved and",
        (f"{_IN_PART}[YODAS2]",),
    ),
    Mutant(
        "row-of-a-table-overlooked",
        11,
        "The fifth row of a source's tables is left out, as if it named no clip.",
        "processors/configured/clip_tables.py",
        "            if not name:\n",
        "            if not name or number == 4:\n",
        (f"{_IN_PART}[ThaiElderly]",),
    ),
    Mutant(
        "last-file-of-a-zip-overlooked",
        11,
        "The clip that stands last in a zip is not looked at.",
        "processors/configured/contents.py",
        "        for member in zip_members(stream):\n",
        "        for member in list(zip_members(stream))[:-1]:\n",
        (f"{_TESTS}test_own_sources_are_sound_wherever_they_lie[zip]",),
    ),
    Mutant(
        "clip-without-a-row-not-counted",
        11,
        "Clips that no row of a table means are not counted as left out.",
        "processors/configured/clip_tables.py",
        '                yield named if named in with_rows else default, clip.key, ""\n',
        '                yield from [(named, clip.key, "")] if named in with_rows else []\n',
        (f"{_IN_PART}[ThaiElderly]",),
    ),
    Mutant(
        "last-archive-overlooked",
        11,
        "The last archive of a train split is not read.",
        "processors/gigaspeech2.py",
        "        return sorted(numbers, key=lambda name: (numbers[name], name))\n",
        "        return sorted(numbers, key=lambda name: (numbers[name], name))[:-1]\n",
        (f"{_IN_PART}[GigaSpeech2]",),
    ),
    Mutant(
        "row-without-its-clip-overlooked",
        11,
        "A row whose clip is not in the archive of its release is no reject.",
        "processors/readers/archive.py",
        "            if first and first.number == found.number and self.index.get(CLIPS, found.key):\n",
        "            if first and first.number == found.number:\n",
        (f"{_IN_PART}[MozillaCommonVoice]",),
    ),
    Mutant(
        "clip-of-another-folder-taken",
        11,
        "A folder that only some rows name, and that is not there, is left out of the name, as one of another machine.",
        "processors/configured/clip_finder.py",
        "        if dropped and dropped > self._shared_in(table).for_name(given):\n",
        "        if dropped > len(folders):\n",
        (f"{_LACKING}[a folder, of clips that others in the folder above have]",),
        quick=True,
    ),
    Mutant(
        "clip-of-a-table-alone-taken",
        11,
        "What all rows of one table name is left out of the name, though rows of other tables name other folders.",
        "processors/configured/clip_finder.py",
        "        if dropped and unnamed and dropped > self._all.shared.for_name(given):\n",
        "        if dropped > len(folders):\n",
        (f"{_LACKING}[a speaker who has a table alone]",),
    ),
    Mutant(
        "clip-of-another-table-taken",
        11,
        "A row gets a clip from a folder that it does not name and that is called like another table or split.",
        "processors/configured/clip_finder.py",
        "        if any(self._all.has_for_another(folder, table, split) for folder in unnamed):\n",
        "        if self._all.has_for_another(given, table, split) and not unnamed:\n",
        (f"{_LACKING}[the archive of a split]", f"{_LACKING}[a folder of one of two trees]"),
    ),
    Mutant(
        "clip-from-outside-taken",
        11,
        "A row gets a clip from outside its table's folder, though that has clips.",
        "processors/configured/clip_finder.py",
        "            if (scope != here or _is_below(path, scope)) and self._index.get(CLIPS, path):\n",
        "            if self._index.get(CLIPS, path):\n",
        (f"{_LACKING}[nothing, but the table's folder has clips]",),
    ),
    Mutant(
        "missing-names-not-told",
        11,
        "A name that the source has and the dataset has not is no finding.",
        "utils/audit/source_names.py",
        "count(listed) <> count(published)\n",
        "count(listed) < count(published)\n",
        (f"{_PLANTED}[a row is gone]",),
    ),
    Mutant(
        "invented-names-not-told",
        11,
        "A name that the dataset has and the source has not is no finding.",
        "utils/audit/source_names.py",
        "count(listed) <> count(published)\n",
        "count(listed) > count(published)\n",
        (f"{_PLANTED}[a row is invented]",),
    ),
    Mutant(
        "what-is-left-out-not-compared",
        11,
        "How many clips the source's tables leave out is not held against the books.",
        "utils/audit/source_names.py",
        "        if counts.unselected != books.progress.unselected:\n",
        "        if counts.unselected < books.progress.unselected:\n",
        (f"{_PLANTED}[a clip that is left out is not counted]",),
    ),
    Mutant(
        "list-of-another-reader-believed",
        11,
        "A class that reads in its own way is held against the list of the class that it is made from.",
        "processors/base_processor.py",
        '        return first_with("listed") <= min(first_with("read"), first_with("_process_single_split"))\n',
        '        return first_with("listed") < len(classes)\n',
        (f"{_TESTS}test_a_class_that_reads_in_its_own_way_needs_a_list_of_its_own",),
    ),
)
