"""`--repair`: copies go, all else stays, in one commit; what can't be mended is refused, and nothing changed."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processors.demo.mirrors import write_demo_sources
from tests.audit.test_verify import broken, checked
from tests.damage import change_rows, change_split, put_state, state_of
from tests.hub_server import TOKEN, HubServer
from tests.runs import environment, run
from tests.support import published_ids, published_rows, sample, tone, tree
from utils.audit.repair import plan_repair
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.layout import CARD_PATH, LEDGER_PATH
from utils.dataset.ledger import Ledger
from utils.dataset.state import SplitState
from utils.errors import TargetMoved, TargetRefused
from utils.rows.ids import Range, subtract
from utils.rows.schema import AUDIO_TYPE
from utils.streaming import StreamingUploader

REPO = "me/thai-voice"
SOURCE = "ProcessedVoiceTH"
FIRST = f"data/train/{SOURCE}-00000.parquet"
SECOND = f"data/train/{SOURCE}-00001.parquet"


LOAD = """
import hashlib, json, sys
from datasets import Audio, load_dataset
rows = load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2]).cast_column("audio", Audio(decode=False))
clips = [hashlib.sha256(cell["bytes"]).hexdigest() for cell in rows["audio"]]
print(json.dumps(list(zip(rows["ID"], rows["transcript"], clips))))
"""
"""What a reader of the repaired dataset does: (ID, transcript, sha256 of the audio) of each row."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a real run published."""
    machine = tmp_path_factory.mktemp("made")
    demo = write_demo_sources(machine / "demo", [SOURCE])
    done = run(
        ["--fresh", SOURCE, "--source-dir", str(demo), "--upload-batch-size", "15", "--output", "folder"], machine
    )
    assert done.returncode == 0, done.stderr
    return machine


@pytest.fixture
def local(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "folder", tmp_path / "dataset"))


def repaired(folder: Path, same_audio: bool = False) -> bool:
    """Repair a folder; False where there was nothing to do."""
    scratch = folder.parent / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    target = LocalTarget(folder)
    repair = plan_repair(target, scratch, same_audio=same_audio)
    if repair.change:
        target.mend(repair.change, repair.snapshot)
    return repair.change is not None


def older(folder: Path, rows: list[dict], rows_a_file: int = 50) -> Path:
    """A dataset as older tools left it: `data/train-00000-of-....parquet` with ID, audio and transcript."""
    (folder / "data").mkdir(parents=True)
    files = [rows[at : at + rows_a_file] for at in range(0, len(rows), rows_a_file)]
    schema = pa.schema([("ID", pa.string()), ("audio", AUDIO_TYPE), ("transcript", pa.string())])
    for number, part in enumerate(files):
        path = folder / f"data/train-{number:05d}-of-{len(files):05d}.parquet"
        pq.write_table(pa.Table.from_pylist(part, schema=schema), path)
    (folder / CARD_PATH).write_text("---\nlicense: cc0-1.0\n---\n# Voices\n\nWritten by hand.\n")
    return folder


def older_row(number: int, audio: int | None = None) -> dict:
    content = tone(number if audio is None else audio)
    return {"ID": f"S{number}", "audio": {"bytes": content, "path": None}, "transcript": f"ประโยคที่ {number}"}


# --- datasets of older tools -----------------------------------------------------------------


def test_twelvefold_dataset_on_the_hub_becomes_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """240 rows become the 20 that they are copies of; the old revision is tagged; `datasets` reads it."""
    rows = [older_row(number) for number in range(1, 21)]
    with HubServer(tmp_path / "server") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        there = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}
        old_head = hub.add_dataset(REPO, older(tmp_path / "old", rows * 12))
        looked = run(["--repair", "--dry-run", "--hf-repo", REPO], tmp_path, there)
        assert hub.head(REPO) == old_head
        commits = len(hub.commit_titles(REPO))

        done = run(["--repair", "--hf-repo", REPO], tmp_path, there)

        assert (looked.returncode, done.returncode) == (0, 0), looked.stderr + done.stderr
        for told in (looked.stdout, done.stdout):
            assert "Rows: 240; 220 are copies and go, 20 stay." in told
        assert len(hub.commit_titles(REPO)) == commits + 1
        assert hub.head(REPO, f"before-repair-{old_head[:12]}") == old_head
        new_head = hub.head(REPO)
        again = run(["--repair", "--hf-repo", REPO], tmp_path, there)
        assert "Nothing to repair" in again.stdout, again.stdout + again.stderr
        assert hub.head(REPO) == new_head
        target = HubTarget(REPO, TOKEN, tmp_path, patience_s=0.4)
        assert broken(verify(target, tmp_path / "indexes", deep=True, repo_id=REPO)) == {}
        assert b"Written by hand." in hub.read(REPO, CARD_PATH)
        command = [sys.executable, "-c", LOAD, REPO, str(tmp_path / "cache")]
        loaded = subprocess.run(command, env=environment(there), capture_output=True, text=True, timeout=60)
    assert loaded.returncode == 0, loaded.stderr
    clips = [hashlib.sha256(row["audio"]["bytes"]).hexdigest() for row in rows]
    assert json.loads(loaded.stdout) == [
        [row["ID"], row["transcript"], clip] for row, clip in zip(rows, clips, strict=True)
    ]


def test_older_dataset_can_be_added_to_once_it_is_repaired(made: Path, tmp_path: Path) -> None:
    """A script goes on with it, each ID once, and so does a run with a source."""
    folder = older(tmp_path / "out", [older_row(number) for number in (1, 2, 3, 1, 2, 3)])
    assert repaired(folder)

    uploader = StreamingUploader(
        "me/x", append_mode=True, checkpoint_path=tmp_path / "c.json", target=LocalTarget(folder), staging_dir=tmp_path
    )
    assert uploader.upload_batch([sample(3), sample(4)]) == 1
    uploader.close()
    arguments = [
        "--append",
        SOURCE,
        "--source-dir",
        str(made / "demo"),
        "--sample",
        "--sample-size",
        "3",
        "--output",
        "out",
    ]
    done = run([*arguments, "--resume"], tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(published_ids(folder)) == [f"S{number}" for number in range(1, 8)]
    assert broken(checked(folder, deep=True)) == {}


def test_same_id_with_other_audio_gets_a_new_id(tmp_path: Path) -> None:
    """Never removed, and told; a row without an ID gets one too."""
    nameless = {**older_row(9), "ID": None}
    folder = older(tmp_path / "out", [older_row(1), older_row(2), older_row(1, audio=5), nameless])

    repair = plan_repair(LocalTarget(folder), tmp_path / "scratch")
    assert [told.partition(": ")[2] for told in repair.renamed] == ["S1 becomes S3", "no ID becomes S4"]
    assert repaired(folder)

    rows = published_rows(folder).to_pylist()
    assert [row["ID"] for row in rows] == ["S1", "S2", "S3", "S4"]
    assert rows[2]["audio"]["bytes"] == tone(5)
    assert broken(checked(folder, deep=True)) == {}
    assert not repaired(folder)


def test_same_audio_goes_only_on_request(tmp_path: Path) -> None:
    """Its ID is then a hole that the state names."""
    rows = [older_row(1), older_row(2, audio=1), older_row(3)]
    assert repaired(older(tmp_path / "kept", rows))
    assert repaired(older(tmp_path / "out", rows), same_audio=True)

    assert published_ids(tmp_path / "kept") == ["S1", "S2", "S3"]
    assert published_ids(tmp_path / "out") == ["S1", "S3"]
    assert state_of(tmp_path / "out").holes == ((2, 2),)
    assert broken(checked(tmp_path / "out", deep=True)) == {}
    assert not repaired(tmp_path / "out", same_audio=True)


def test_rows_without_audio_are_never_taken_for_copies(tmp_path: Path) -> None:
    """Two rows of one ID whose audio lies elsewhere may be two clips."""
    rows = [{**older_row(1), "audio": {"bytes": None, "path": f"{number}.wav"}} for number in range(2)]
    folder = older(tmp_path / "out", rows)

    assert repaired(folder)

    assert published_ids(folder) == ["S1", "S2"]


# --- datasets of ours ------------------------------------------------------------------------


def test_sound_dataset_is_left_alone(local: Path) -> None:
    """To the byte."""
    before = tree(local.parent, "dataset")

    assert not repaired(local)
    assert tree(local.parent, "dataset") == before


def test_copies_go_and_only_their_shards_change(local: Path) -> None:
    """The dataset is byte for byte what it was in every other file; the one before is kept whole beside it."""
    before = tree(local, "data", "rejected")
    rows = published_ids(local)
    copy = pq.read_table(local / FIRST, partitioning=None).to_pylist()[3]
    change_rows(local, SECOND, lambda rows: [copy, *rows])
    damaged = tree(local, "data", "rejected")

    assert repaired(local)

    after = tree(local, "data", "rejected")
    assert {path for path in before if after[path] != before[path]} <= {SECOND}
    assert published_ids(local) == rows
    assert broken(checked(local, deep=True)) == {}
    (kept,) = local.parent.glob("dataset.before-repair-*")
    assert tree(kept, "data", "rejected") == damaged
    assert not repaired(local)


def test_clash_of_ids_moves_to_the_end(local: Path) -> None:
    """Two clips under one ID: the second gets the next one, at the end of its split; what it was is a hole."""
    change_rows(local, FIRST, lambda rows: [*rows[:4], {**rows[4], "ID": rows[3]["ID"]}, *rows[5:]])
    was = state_of(local)
    lost = int(pq.read_table(local / FIRST, columns=["ID"], partitioning=None)["ID"][3].as_py()[1:]) + 1

    with pytest.raises(TargetRefused, match=f"S{lost} first"):
        repaired(local)

    # Once the state, too, knows of no such ID, nothing is lost: it is a clash and no more.
    change_split(local, SOURCE, "train", lambda books: replace(books, ids=without(books.ids, lost)))
    put_state(local, replace(state_of(local), holes=((lost, lost),)))
    change_split(local, SOURCE, "train", one_more_kept)
    assert repaired(local)

    assert published_ids(local).count(f"S{was.next_id}") == 1
    assert broken(checked(local, deep=True)) == {}
    assert not repaired(local)


def one_more_kept(books: SplitState) -> SplitState:
    progress = replace(books.progress, kept=books.progress.kept + 1, read=books.progress.read + 1)
    return replace(books, progress=progress)


def without(ids: Iterable[Range], number: int) -> tuple[Range, ...]:
    return tuple(subtract(ids, [(number, number)]))


def test_removed_ids_become_holes(local: Path) -> None:
    """Two clips of one recording, on request: the second goes, and its ID stands for nothing from then on."""
    first = pq.read_table(local / FIRST, partitioning=None).to_pylist()[3]
    same = {name: first[name] for name in ("audio", "audio_hash", "length")}
    change_rows(local, SECOND, lambda rows: [*rows[:5], {**rows[5], **same}, *rows[6:]])
    gone = pq.read_table(local / SECOND, partitioning=None)["ID"][5].as_py()

    assert repaired(local, same_audio=True)

    assert gone not in published_ids(local)
    assert state_of(local).holes == ((int(gone[1:]), int(gone[1:])),)
    assert broken(checked(local, deep=True)) == {}
    assert not repaired(local, same_audio=True)


def test_shard_of_copies_alone_is_emptied(local: Path) -> None:
    """Its name is taken, so it stays, with no rows."""
    rows = pq.read_table(local / FIRST, partitioning=None).to_pylist()
    last = state_of(local).split(SOURCE, "train").parts
    added = f"data/train/{SOURCE}-{last:05d}.parquet"
    add_part(local, added, rows)

    assert repaired(local)

    assert pq.read_metadata(local / added).num_rows == 0
    assert broken(checked(local, deep=True)) == {}


def add_part(folder: Path, path: str, rows: list[dict]) -> None:
    """One more part of train, signed and counted."""
    table = pq.read_table(folder / FIRST, partitioning=None)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / path)
    ledger = Ledger((folder / LEDGER_PATH).read_bytes()).with_files({path: folder / path})
    (folder / LEDGER_PATH).write_bytes(ledger.raw)
    put_state(folder, ledger.signed(state_of(folder)))
    change_split(folder, SOURCE, "train", lambda books: replace(books, parts=books.parts + 1))


def test_wrong_counts_and_a_stale_card_are_mended(local: Path) -> None:
    """From the rows that are there."""
    before = state_of(local)
    change_split(local, SOURCE, "test", lambda books: replace(books, published=99, duration_s=1.5, size_bytes=3))
    (local / CARD_PATH).write_text((local / CARD_PATH).read_text().replace("num_examples: ", "num_examples: 1"))

    assert repaired(local)

    assert state_of(local).sources == before.sources
    assert broken(checked(local)) == {}


def test_repaired_dataset_is_resumed(local: Path, made: Path, tmp_path: Path) -> None:
    """A run with --resume has nothing to do."""
    copy = pq.read_table(local / FIRST, partitioning=None).to_pylist()[3]
    change_rows(local, SECOND, lambda rows: [copy, *rows])
    assert repaired(local)

    arguments = ["--fresh", SOURCE, "--source-dir", str(made / "demo"), "--upload-batch-size", "15"]
    done = run([*arguments, "--output", "dataset", "--resume"], tmp_path)

    assert "Nothing to do" in done.stdout, done.stdout + done.stderr


# --- what can't be mended --------------------------------------------------------------------


def test_what_cannot_be_mended_is_refused(made: Path, tmp_path: Path) -> None:
    """Lost rows, damaged clips, exchanged shards, unknown rows: refused with the reason, and nothing changed."""

    def flip_bit(folder: Path) -> None:
        raw = bytearray((folder / FIRST).read_bytes())
        clip = pq.read_table(folder / FIRST, partitioning=None)["audio"][4].as_py()["bytes"]
        raw[raw.index(clip) + len(clip) // 2] ^= 1
        (folder / FIRST).write_bytes(raw)

    def exchange(folder: Path) -> None:
        first, second = (folder / FIRST).read_bytes(), (folder / SECOND).read_bytes()
        (folder / FIRST).write_bytes(second)
        (folder / SECOND).write_bytes(first)

    def lose_a_row(folder: Path) -> None:
        change_rows(folder, FIRST, lambda rows: rows[1:])

    def add_a_stranger(folder: Path) -> None:
        stranger = {"ID": "S9999", "source_id": "x/y", "audio": {"bytes": tone(7), "path": "x.wav"}}
        change_rows(folder, SECOND, lambda rows: [*rows, {**rows[0], **stranger, "audio_hash": ""}])

    reasons = {
        "lacks": lambda folder: (folder / SECOND).unlink(),
        "can't be read": lambda folder: (folder / SECOND).write_bytes(b"PAR1"),
        "row 4 is damaged": flip_bit,
        "exchanged": exchange,
        "rows are gone": lose_a_row,
        "can't be told": add_a_stranger,
        "damaged": lambda folder: (folder / ".ingest/state.json").write_bytes(b"{}"),
    }
    for number, (reason, damage) in enumerate(reasons.items()):
        folder = Path(shutil.copytree(made / "folder", tmp_path / str(number) / "dataset"))
        damage(folder)
        before = tree(folder.parent, "dataset")

        with pytest.raises(TargetRefused, match=reason):
            repaired(folder)

        assert tree(folder.parent, "dataset") == before
        assert [path.name for path in folder.parent.iterdir() if path.name != "scratch"] == ["dataset"]


def test_a_lack_of_memory_is_no_damage(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow's own error for it is one of its errors of damage, too: nobody is told to put a sound file back."""
    folder = Path(shutil.copytree(made / "folder", tmp_path / "dataset"))

    def no_memory(*arguments: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(LocalTarget, "batches", no_memory)

    with pytest.raises(MemoryError):
        repaired(folder)


def test_repair_that_fails_half_way_leaves_the_dataset_as_it_was(local: Path) -> None:
    """Whatever fails before the last step fails beside the dataset; the next repair begins anew."""
    copy = pq.read_table(local / FIRST, partitioning=None).to_pylist()[3]
    change_rows(local, SECOND, lambda rows: [copy, *rows])
    before, target = tree(local.parent, "dataset"), LocalTarget(local)
    repair = plan_repair(target, local.parent / "scratch")
    change = replace(repair.change, files={**repair.change.files, FIRST: local.parent / "gone"})

    with pytest.raises(FileNotFoundError):
        target.mend(change, repair.snapshot)
    assert tree(local.parent, "dataset") == before

    assert repaired(local)
    assert broken(checked(local)) == {}


def test_dataset_that_changed_since_it_was_read_is_not_repaired(local: Path) -> None:
    """What was planned fits what was read, and nothing else."""
    change_split(local, SOURCE, "test", lambda books: replace(books, published=99))
    target = LocalTarget(local)
    repair = plan_repair(target, local.parent / "scratch")
    put_state(local, replace(state_of(local), sequence=99))
    before = tree(local.parent, "dataset")

    with pytest.raises(TargetMoved):
        target.mend(repair.change, repair.snapshot)
    assert tree(local.parent, "dataset") == before


def test_repair_that_died_at_its_last_step_is_told_and_finished(local: Path) -> None:
    """Between two renames the folder has no name: no command takes it for empty, the next one that writes ends it."""
    before = tree(local.parent, "dataset")
    local.rename(local.with_name("dataset.repairing"))
    target = LocalTarget(local)

    with pytest.raises(TargetRefused, match="repeat"):
        target.snapshot()
    with target.lock():
        assert target.snapshot().holds_data
    assert tree(local.parent, "dataset") == before
