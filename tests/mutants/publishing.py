"""Laws 1 to 3: the commit, its answer, and who is believed after it."""

from tests.mutants.mutant import Mutant

_RETRY = "tests/upload/test_checkpoint_duplication_fix.py::test_failed_upload_publishes_its_samples_when_retried"
_ORDER = "tests/disk/test_durable.py::test_state_is_renamed_last_and_only_then_the_commit_is_remembered"
_FAILS = "tests/disk/test_durable.py::test_what_was_not_committed_is_neither_remembered_nor_deleted"
_LOST = "tests/dataset/test_hub_repo.py::test_a_lost_answer_is_not_a_no"

MUTANTS = (
    # --- 1: commit first, then remember ------------------------------------------------------
    Mutant(
        "ids-remembered-before-the-commit",
        1,
        "The uploaded-IDs checkpoint is written before the commit.",
        "utils/upload/split_uploader.py",
        "            self._commit(built)\n",
        "            planned = self.publisher.state.after(built[0].part)\n"
        "            name = self.publisher.target.name\n"
        "            self._write_down(self._checkpoint_path, planned, self.split, name, self.row_schema)\n"
        "            self._commit(built)\n",
        (_FAILS, _ORDER),
        quick=True,
    ),
    Mutant(
        "segments-deleted-before-the-commit",
        1,
        "Segments are deleted before the commit.",
        "utils/upload/split_uploader.py",
        "            self._commit(built)\n",
        "            self.staging.drop_published(built[-1].part.progress)\n            self._commit(built)\n",
        (_FAILS, _ORDER),
    ),
    Mutant(
        "ids-remembered-though-the-commit-failed",
        1,
        "All IDs that wait count as uploaded once a commit was tried, whether it landed or not.",
        "utils/streaming.py",
        "        self.split_uploader.publish_ready(flush=True)\n",
        "        self._ids.uploaded.add_published(list(self._ids.waiting))\n"
        "        self.split_uploader.publish_ready(flush=True)\n",
        (_FAILS,),
    ),
    Mutant(
        "state-ours-before-the-commit",
        1,
        "The new state becomes ours before its commit has landed.",
        "utils/upload/publisher.py",
        "        self.snapshot = self.target.commit(Change(_message(parts), planned, files), self.snapshot)\n",
        "        since, self.snapshot = self.snapshot, replace(self.snapshot, state=planned)\n"
        "        self.snapshot = self.target.commit(Change(_message(parts), planned, files), since)\n",
        (_FAILS,),
    ),
    Mutant(
        "segment-deleted-when-partly-published",
        1,
        "A segment is deleted as soon as its first clip is published.",
        "utils/upload/staging.py",
        "    return segment.progress.read <= published.read and",
        "    return segment.first_ordinal < published.read and",
        ("tests/upload/test_staging.py::test_dropping_keeps_what_is_not_published",),
    ),
    Mutant(
        "state-written-before-the-card",
        1,
        "In a folder the state is written first and the card after it.",
        "utils/dataset/folder.py",
        "        self._write_card(change.planned)\n        if (before",
        "        self._put_state(change.planned)\n        self._write_card(change.planned)\n        if (before",
        ("tests/dataset/test_folder.py::test_state_is_last_and_everything_is_durable_before_it", _ORDER),
    ),
    Mutant(
        "ids-never-remembered",
        1,
        "The uploaded-IDs checkpoint is not written after a commit.",
        "utils/upload/upload_checkpoint.py",
        "    if not path.exists() or path.read_bytes() != raw:\n",
        "    if not path.exists():\n",
        ("tests/upload/test_checkpoint_duplication_fix.py::test_checkpoint_tracks_the_uploaded_ids", _FAILS),
    ),
    # --- 2: a lost answer is not a no --------------------------------------------------------
    Mutant(
        "lost-answer-taken-for-a-no",
        2,
        "After a lost answer the commit is sent again without a look at whether it landed.",
        "utils/dataset/hub_repo.py",
        "            now = self.snapshot()\n",
        "            now = self.snapshot()\n            base = now\n            continue\n",
        ("tests/dataset/test_hub_repo.py::test_another_writers_commit_is_never_overwritten",),
        quick=True,
    ),
    Mutant(
        "lost-answer-taken-for-a-yes",
        2,
        "After a lost answer the commit is taken to have landed.",
        "utils/dataset/hub_repo.py",
        "            if change.planned.same_dataset(now.state):\n",
        "            if True:\n",
        (f"{_LOST}[answer lost, not applied]",),
    ),
    Mutant(
        "cut-answer-is-a-crash",
        2,
        "An answer that is no JSON is a failure of the run, not an unclear answer.",
        "utils/dataset/hub_repo.py",
        " and not isinstance(error, json.JSONDecodeError)",
        "",
        ("tests/dataset/test_hub_gateway.py::test_page_of_a_gateway_is_no_clear_answer",),
    ),
    Mutant(
        "generations-not-told-apart",
        2,
        "A state of another generation counts as the one that was planned.",
        "utils/dataset/state.py",
        'return replace(self, sequence=0, run_id="", committed_at="")',
        'return replace(self, generation="", sequence=0, run_id="", committed_at="")',
        ("tests/dataset/test_state.py::test_same_dataset_ignores_only_who_and_when",),
    ),
    Mutant(
        "late-commit-of-a-dead-run-not-known-again",
        2,
        "The same data, committed by a run that died since, counts as somebody else's.",
        "utils/dataset/state.py",
        'return replace(self, sequence=0, run_id="", committed_at="")',
        'return replace(self, sequence=0, committed_at="")',
        ("tests/dataset/test_hub_repo.py::test_commit_of_a_dead_run_is_taken_over",),
    ),
    Mutant(
        "operations-used-twice",
        2,
        "The second try sends the operation objects of the first.",
        "utils/dataset/hub_repo.py",
        "            list(self._operations(change, base)),\n",
        "            self.__dict__.setdefault(change.message, list(self._operations(change, base))),\n",
        ("tests/dataset/test_hub_repo.py::test_edited_card_is_no_other_writer",),
    ),
    Mutant(
        "retry-after-dropped",
        2,
        "How long the Hub asks us to wait after a 429 is not heeded before a commit is sent again.",
        "utils/dataset/hub_repo.py",
        'looking at what is there", self.name, _why(error))\n'
        "                self._wait(max(pause_s, hub.retry_after_s(error)))",
        'looking at what is there", self.name, _why(error))\n                self._wait(pause_s)',
        ("tests/dataset/test_hub_repo.py::test_retry_after_is_waited_for",),
    ),
    Mutant(
        "own-rename-taken-for-another-writers",
        2,
        "In a folder a commit whose rename happened just before an error counts as somebody else's.",
        "utils/dataset/folder.py",
        "            if change.planned.same_dataset(now.state):\n",
        "            if False:\n",
        ("tests/dataset/test_folder.py::test_commit_that_failed_can_be_repeated_at_once[after]",),
    ),
    # --- 3: the target's state wins ----------------------------------------------------------
    Mutant(
        "local-list-of-ids-believed",
        3,
        "What the local checkpoint lists counts as uploaded, whatever the target has.",
        "utils/streaming.py",
        "            held.callback(self._ids.uploaded.close)\n",
        "            held.callback(self._ids.uploaded.close)\n"
        '            self._ids.uploaded.add_published(list((load_uploaded(path) or {}).get("uploaded_ids", ())))\n',
        ("tests/pipeline/test_source_run.py::test_uploaded_ids_are_those_of_the_published_rows",),
        quick=True,
    ),
    Mutant(
        "own-ids-not-read-from-the-shards",
        3,
        "Only the numbers that the state names count as uploaded, not the names that a script chose.",
        "utils/upload/uploaded_ids.py",
        "        if len(known) != published.published:\n",
        "        if False:\n",
        ("tests/upload/test_checkpoint_duplication_fix.py::test_ids_of_any_form_are_deduplicated",),
    ),
    Mutant(
        "index-of-other-shards-believed",
        3,
        "An index of IDs is believed whose shards are no longer those of the target.",
        "utils/upload/id_index.py",
        " and run.of_shards == self._digest(run.first, run.end):",
        ":",
        ("tests/upload/test_id_index.py::test_what_is_of_other_shards_is_not_believed",),
    ),
    Mutant(
        "staging-ahead-of-the-state-believed",
        3,
        "Segments are taken over though the state went back behind them.",
        "utils/upload/staging.py",
        "            return segment.first_ordinal <= published.read <= segment.progress.read\n",
        "            return True\n",
        ("tests/upload/test_staging.py::test_segments_ahead_of_an_older_state_are_set_aside",),
    ),
    Mutant(
        "staging-of-another-generation-believed",
        3,
        "Segments of another generation, revision or set of options are taken over.",
        "utils/upload/staging.py",
        "            if segment.key != self.key:\n",
        "            if segment.key.split != self.key.split:\n",
        ("tests/upload/test_staging.py::test_segments_of_other_data_are_set_aside_with_a_warning",),
    ),
    Mutant(
        "checkpoint-file-believed",
        3,
        "Reading goes on where the checkpoint file of --checkpoint claims to be.",
        "pipeline/run/run.py",
        "        if checkpoint.samples > ours:\n",
        "        for uploader in source.uploaders.values():\n"
        "            uploader.progress = Progress({'index': ours + 1}, ours + 1, ours + 1)\n"
        "        if checkpoint.samples > ours:\n",
        ("tests/pipeline/test_source_run.py::test_checkpoint_file_ahead_of_the_state_skips_nothing",),
    ),
    Mutant(
        "stale-ids-not-mended",
        3,
        "The uploaded IDs that a lost or stale checkpoint lacks are not written again at the start.",
        "utils/upload/split_uploader.py",
        "self._staged_reasons()\n        self._remember()\n",
        "self._staged_reasons()\n",
        ("tests/pipeline/test_source_run.py::test_stale_uploaded_ids_are_written_again_from_the_state",),
    ),
    Mutant(
        "old-generation-taken-for-ours",
        3,
        "A local checkpoint of another generation lets a script go on with a dataset that is not its own.",
        "utils/streaming.py",
        ' and uploaded.get("generation") == state.generation\n',
        "\n",
        ("tests/pipeline/test_source_run.py::test_checkpoint_of_another_generation_is_not_gone_on_with",),
    ),
)
