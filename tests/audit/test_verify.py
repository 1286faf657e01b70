"""`--verify`: a sound dataset is called sound, and each kind of damage is found and named.

Every damage is made on purpose in a copy of a published dataset, and looked for in a folder and on the tests' Hub.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processors.demo.mirrors import write_demo_sources
from tests.damage import change_rows, change_split, put_state, sign, state_of
from tests.hub_server import TOKEN, HubServer
from tests.runs import run, start
from tests.support import sample, tone
from utils.audit.files_read import split_of
from utils.audit.findings import NOT_CHECKED, NOT_SOUND, NOTED, Verdict
from utils.audit.verify import verify
from utils.dataset.card import render_card
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.layout import CARD_PATH, LEDGER_PATH, STATE_PATH
from utils.errors import Interrupted
from utils.rows.schema import AUDIO_TYPE
from utils.streaming import StreamingUploader

REPO = "me/thai-voice"
SOURCE = "ProcessedVoiceTH"
FIRST = f"data/train/{SOURCE}-00000.parquet"
SECOND = f"data/train/{SOURCE}-00001.parquet"
TEST = f"data/test/{SOURCE}-00000.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What real runs published: `folder`, `hub` (a copy of the repo's files), `another` (a run of fewer clips)."""
    machine = tmp_path_factory.mktemp("made")
    demo = write_demo_sources(machine / "demo", [SOURCE])
    arguments = ["--fresh", SOURCE, "--source-dir", str(demo), "--upload-batch-size", "15"]
    with HubServer(machine / "server") as hub:
        there = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}
        targets = (["--output", "folder"], ["--output", "another", "--sample"], ["--hf-repo", REPO])
        for process in [start([*arguments, *more], machine, there) for more in targets]:
            _, told = process.communicate(timeout=120)
            assert process.returncode == 0, told
        for path in hub.files(REPO):
            (machine / "hub" / path).parent.mkdir(parents=True, exist_ok=True)
            (machine / "hub" / path).write_bytes(hub.read(REPO, path))
    yield machine


@pytest.fixture(params=["folder", "hub"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dataset(made: Path, place: str, tmp_path: Path) -> Path:
    """A copy of a published dataset, to be damaged."""
    return Path(shutil.copytree(made / place, tmp_path / "dataset"))


@pytest.fixture
def local(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "folder", tmp_path / "dataset"))


@pytest.fixture
def look(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Look"]:
    with HubServer(tmp_path / "server", page_size=3) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield Look(tmp_path, hub if place == "hub" else None)


class Look:
    """Verifies a folder as it is, or as a repo on the Hub with its files."""

    def __init__(self, scratch: Path, hub: HubServer | None) -> None:
        self._scratch, self.hub = scratch, hub

    def __call__(self, folder: Path, deep: bool = False, repo_id: str = REPO) -> Verdict:
        if self.hub is None:
            return checked(folder, deep)
        self.hub.add_dataset(repo_id, folder)
        target = HubTarget(repo_id, TOKEN, self._scratch, patience_s=0.4, first_pause_s=0.02)
        shutil.rmtree(self._scratch / "indexes", ignore_errors=True)
        return verify(target, self._scratch / "indexes", deep=deep, repo_id=repo_id)


def checked(folder: Path, deep: bool = False) -> Verdict:
    scratch = folder.parent / "indexes"
    shutil.rmtree(scratch, ignore_errors=True)
    return verify(LocalTarget(folder), scratch, deep=deep)


def broken(verdict: Verdict) -> dict[str, list[str]]:
    """The checks that failed, with the offenders that they name."""
    return {check.name: check.offenders for check in verdict.checks if check.result == NOT_SOUND}


def results(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.result for check in verdict.checks}


# --- sound -----------------------------------------------------------------------------------


def test_what_a_run_published_is_sound(dataset: Path, look: Look) -> None:
    """Every promise is checked, none is broken; with `deep` every clip is decoded."""
    verdict = look(dataset, deep=True)

    assert broken(verdict) == {}
    assert verdict.is_sound
    assert NOT_CHECKED not in results(verdict).values()
    rows = sum(pq.read_metadata(path).num_rows for path in dataset.glob("data/*/*.parquet"))
    assert (verdict.totals.rows, {check.name: check.checked for check in verdict.checks}["audio"]) == (rows, rows)
    assert verdict.totals.rejects > 0


def test_audio_is_not_downloaded_unless_deep(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's listing has sizes and sha256; of the shards only the columns needed are read."""
    with HubServer(tmp_path / "server") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add_dataset(REPO, made / "hub")
        target = HubTarget(REPO, TOKEN, tmp_path, patience_s=0.4)

        verify(target, tmp_path / "indexes", repo_id=REPO)

        ranges = [seen.range for seen in hub.requests if seen.step == "cdn" and seen.method == "GET"]
        assert ranges
        assert None not in ranges


def test_text_by_hand_in_the_card_is_sound(local: Path) -> None:
    """What people wrote above and below our block is theirs."""
    card = (local / CARD_PATH).read_text()
    (local / CARD_PATH).write_text(card + "\nThanks to all speakers.\n")

    assert broken(checked(local)) == {}


def test_a_dataset_that_goes_by_another_name_is_sound(made: Path, look: Look) -> None:
    """Renamed, copied, put on the Hub from a folder, fetched into one: the card has the name that it had before."""
    for origin in ("hub", "folder"):
        assert broken(look(made / origin, repo_id="somebody/else")) == {}


def test_repeats_that_were_rejected_are_sound(made: Path, local: Path) -> None:
    """A second clip under the same id is in the rejects under that very id: on purpose."""
    (rejects, *_) = sorted(path.relative_to(local).as_posix() for path in local.glob("rejected/train/*.parquet"))
    taken = pq.read_table(local / FIRST, partitioning=None)["source_id"][0].as_py()

    change_rows(
        local, rejects, lambda rows: [{**rows[0], "source_id": taken, "reason": "repeated_source_id"}, *rows[1:]]
    )
    assert broken(checked(local)) == {}
    change_rows(local, rejects, lambda rows: [{**rows[0], "reason": "silent"}, *rows[1:]])
    assert set(broken(checked(local))) == {"source ids"}


def test_ids_that_a_script_chose_are_sound(tmp_path: Path) -> None:
    """They need no order and no succession; but each comes once."""
    uploader = StreamingUploader(
        "me/x", checkpoint_path=tmp_path / "c.json", target=LocalTarget(tmp_path / "out"), staging_dir=tmp_path / "s"
    )
    uploader.upload_batch([sample(7), sample(3, ID="clip-b")])
    uploader.upload_batch([sample(2)])

    verdict = checked(tmp_path / "out", deep=True)

    assert broken(verdict) == {}
    assert verdict.totals.rows == 3


def test_begun_dataset_without_a_part_is_sound(tmp_path: Path) -> None:
    """There is nothing yet that could be wrong."""
    StreamingUploader(
        "me/x", checkpoint_path=tmp_path / "c.json", target=LocalTarget(tmp_path / "out"), staging_dir=tmp_path / "s"
    )

    assert broken(checked(tmp_path / "out")) == {}


# --- ten kinds of damage ---------------------------------------------------------------------


def test_duplicate_row_is_found(dataset: Path, look: Look) -> None:
    """The same row in two shards: its ID and its source id come twice."""
    row = pq.read_table(dataset / FIRST, partitioning=None).to_pylist()[3]
    change_rows(dataset, SECOND, lambda rows: [row, *rows])

    found = broken(look(dataset))

    assert found["source ids"] == [f"{row['source_id']}: {FIRST} row 3, {SECOND} row 0"]
    assert found["IDs"] == [f"{row['ID']}: {FIRST} row 3, {SECOND} row 0"]
    assert "rows by the state" in found["counts"][0]


def test_missing_shard_is_found(dataset: Path, look: Look) -> None:
    """By its name."""
    (dataset / SECOND).unlink()

    assert f"{SECOND} is missing" in broken(look(dataset))["files"]


def test_swapped_shards_are_found(dataset: Path, look: Look) -> None:
    """Each is a good shard, but not the one of its name; signed anew, the IDs still tell."""
    contents = [(dataset / path).read_bytes() for path in (FIRST, SECOND)]
    for path, content in zip((SECOND, FIRST), contents, strict=True):
        (dataset / path).write_bytes(content)

    found = broken(look(dataset))
    assert [told.split()[0] for told in found["contents"]] == [FIRST, SECOND]
    assert SECOND in " ".join(found["order of IDs"])


def test_swapped_shards_are_found_by_their_ids_alone(local: Path) -> None:
    """Also where the ledger was signed anew."""
    (local / FIRST).rename(local / "aside")
    (local / SECOND).rename(local / FIRST)
    (local / "aside").rename(local / SECOND)
    sign(local)

    assert set(broken(checked(local))) == {"order of IDs"}


def test_changed_byte_is_found(dataset: Path, look: Look) -> None:
    """One bit of one clip: the sha256 tells which shard, decoding which clip."""
    raw = bytearray((dataset / FIRST).read_bytes())
    clip = pq.read_table(dataset / FIRST, partitioning=None).to_pylist()[4]
    raw[raw.index(clip["audio"]["bytes"]) + len(clip["audio"]["bytes"]) // 2] ^= 1
    (dataset / FIRST).write_bytes(raw)

    found = broken(look(dataset, deep=True))

    assert set(found) == {"contents", "audio"}
    assert found["contents"][0].startswith(FIRST)
    assert found["audio"][0].startswith(f"{clip['ID']} ({FIRST} row 4)")


def test_wrong_count_is_found(dataset: Path, look: Look) -> None:
    """A state that says one clip more than there is."""
    change_split(dataset, SOURCE, "test", lambda books: replace(books, published=books.published + 1))

    found = broken(look(dataset))

    assert {"counts", "books", "card"} == set(found)
    assert found["counts"][0].startswith(f"{SOURCE}/test: ")


def test_id_hole_is_found(dataset: Path, look: Look) -> None:
    """A row that was taken out, all books mended but for the name of the hole; named, it is sound."""
    gone = pq.read_table(dataset / FIRST, partitioning=None).to_pylist()[7]
    number = int(gone["ID"][1:])
    take_out(dataset, 7, gone["length"], number)
    write_card(dataset, look)

    found = broken(look(dataset))
    assert set(found) == {"order of IDs", "books"}
    assert found["order of IDs"] == [f"S{number} missing, and not named as a hole"]

    put_state(dataset, replace(state_of(dataset), holes=((number, number),)))
    write_card(dataset, look)
    assert broken(look(dataset)) == {}


def test_id_twice_is_found(dataset: Path, look: Look) -> None:
    """Two clips under one ID."""
    change_rows(dataset, FIRST, lambda rows: [rows[0], {**rows[1], "ID": rows[0]["ID"]}, *rows[2:]])

    found = broken(look(dataset))

    (told,) = found["IDs"]
    assert told.endswith(f": {FIRST} row 0, {FIRST} row 1")
    assert set(found) <= {"IDs", "order of IDs", "card"}


def test_same_clip_in_two_splits_is_found(dataset: Path, look: Look) -> None:
    """A clip of train among the test clips."""
    clip = pq.read_table(dataset / FIRST, partitioning=None).to_pylist()[0]
    change_rows(dataset, TEST, lambda rows: [{**clip, "ID": rows[0]["ID"]}, *rows[1:]])

    verdict = look(dataset)

    assert f"{clip['source_id']} is in {TEST}" in broken(verdict)["splits"]
    assert any(told.startswith(f"{clip['source_id']}: ") and FIRST in told for told in broken(verdict)["splits"])
    assert {"splits", "source ids"} <= set(broken(verdict))
    assert results(verdict)["audio in two splits"] == NOTED


@pytest.mark.parametrize("name", ["data/test/{0}-0.parquet", "data/x/test/{0}-00000.parquet"])
def test_a_clip_of_train_among_test_is_found_in_any_layout(name: str, made: Path, tmp_path: Path) -> None:
    """A dataset of another program, without a state: its source ids say which split they are of."""
    rows = pq.read_table(made / "folder" / FIRST, partitioning=None)
    path = tmp_path / "other" / name.format(SOURCE)
    path.parent.mkdir(parents=True)
    pq.write_table(rows, path)
    (tmp_path / "scratch").mkdir()

    verdict = verify(LocalTarget(tmp_path / "other"), tmp_path / "scratch")

    assert f"{rows['source_id'][0]} is in {name.format(SOURCE)}" in broken(verdict)["splits"]


def test_stale_card_is_found(dataset: Path, look: Look) -> None:
    """In its metadata, and in its text."""
    whole = (dataset / CARD_PATH).read_text()
    changes = [("num_examples: ", "num_examples: 1"), ("clips, ", "clips , "), ("load_dataset(", 'load_dataset("\\x')]
    for stale in (whole.replace(*change, 1) for change in changes):
        (dataset / CARD_PATH).write_text(stale)

        assert list(broken(look(dataset))) == ["card"]


def test_state_of_another_run_is_found(made: Path, dataset: Path, look: Look) -> None:
    """Sound in itself, but not of these files."""
    shutil.copy(made / "another" / STATE_PATH, dataset / STATE_PATH)

    found = broken(look(dataset))

    assert {"ledger", "files", "counts", "order of IDs", "card"} <= set(found)
    assert "not what its state names" in found["ledger"][0]


# --- further damage --------------------------------------------------------------------------


def test_damaged_state_and_ledger_are_findings(local: Path) -> None:
    """They don't stop the check of what does not need them."""
    (local / LEDGER_PATH).write_bytes((local / LEDGER_PATH).read_bytes()[:-20])
    assert "damaged" in broken(checked(local))["ledger"][0]
    for raw in (b"", b"[]", (local / STATE_PATH).read_bytes().replace(b'"kept"', b'"kapt"')):
        (local / STATE_PATH).write_bytes(raw)

        verdict = checked(local)

        assert list(broken(verdict)) == ["state"]
        assert "damaged" in broken(verdict)["state"][0]
        assert results(verdict)["IDs"] == "sound"
        assert results(verdict)["counts"] == NOT_CHECKED


@pytest.mark.parametrize("keep", [0, 3, 100, -100])
def test_file_that_is_no_parquet_is_a_finding(local: Path, keep: int) -> None:
    """Empty, cut short at its beginning or its end: named, and the others are read."""
    (local / FIRST).write_bytes((local / FIRST).read_bytes()[:keep])

    found = broken(checked(local))

    assert found["readable"][0].startswith(FIRST)
    assert found["contents"][0].startswith(FIRST)


def test_stray_files_are_found(local: Path) -> None:
    """A file that no commit named, wherever it lies below data/ and rejected/."""
    for stray in (f"data/train/{SOURCE}-00099.parquet", "data/train/notes.txt", "rejected/test/Other-00000.parquet"):
        shutil.copy(local / FIRST, local / stray)

        assert any(told.startswith(stray) for told in broken(checked(local))["files"])
        (local / stray).unlink()


def test_missing_column_is_found(local: Path) -> None:
    """A shard of another schema."""
    table = pq.read_table(local / FIRST, partitioning=None)
    pq.write_table(table.drop_columns(["speaker_id"]), local / FIRST)
    sign(local)

    assert broken(checked(local))["readable"] == [f"{FIRST} has no column speaker_id"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: {"length": row["length"] + 0.002}, "`length` says"),
        (lambda row: {"audio_hash": "0" * 32}, "audio_hash"),
        (lambda row: {"audio": {"bytes": tone(0)[:44] + bytes(9600), "path": "x.wav"}}, "silent"),
        (lambda row: {"audio": {"bytes": tone(0, rate_hz=8000), "path": "x.wav"}}, "8000 Hz"),
        (lambda row: {"audio": {"bytes": b"RIFF", "path": "x.wav"}}, "undecodable"),
        (lambda row: {"audio": None}, "no bytes"),
    ],
)
def test_deep_tells_what_is_wrong_with_a_clip(local: Path, change, words: str) -> None:
    """Rate, silence, length, samples: each clip is what its row says."""
    change_rows(local, FIRST, lambda rows: [*rows[:2], {**rows[2], **change(rows[2])}, *rows[3:]])

    (told,) = broken(checked(local, deep=True))["audio"]

    assert words in told
    assert f"{FIRST} row 2" in told


# --- datasets of others ----------------------------------------------------------------------


def foreign(folder: Path, ids: list[str]) -> Path:
    (folder / "data").mkdir(parents=True)
    audio = pa.array([{"bytes": tone(number), "path": None} for number in range(len(ids))], AUDIO_TYPE)
    pq.write_table(pa.table({"ID": ids, "audio": audio}), folder / "data/train-00000-of-00001.parquet")
    return folder


def test_dataset_of_another_program_is_checked_as_far_as_that_goes(tmp_path: Path) -> None:
    """IDs and audio; all else is named as not checked, with the reason."""
    verdict = checked(foreign(tmp_path / "out", ["a", "b", "c"]), deep=True)

    assert broken(verdict) == {}
    sound = [name for name, result in results(verdict).items() if result == "sound"]
    assert sound == ["readable", "IDs", "audio"]
    assert all(check.why_not for check in verdict.checks if check.result == NOT_CHECKED)


def test_repeated_ids_of_another_program_are_found(tmp_path: Path) -> None:
    """As many as repeat an earlier one; the first few are named."""
    verdict = checked(foreign(tmp_path / "out", ["a", "b", "a", "b", "a", "c"]))

    (ids,) = [check for check in verdict.checks if check.name == "IDs"]
    assert (ids.checked, ids.found) == (6, 3)
    assert ids.offenders[0].startswith("a: data/train-00000-of-00001.parquet row 0, ")


# --- the command -----------------------------------------------------------------------------


def test_the_command_tells_and_leaves_with_0_or_7(local: Path, tmp_path: Path) -> None:
    """A table for people, an object for machines; nothing is changed."""
    sound = run(["--verify", "--output", "dataset"], tmp_path)
    (local / SECOND).unlink()
    unsound = run(["--verify", "--output", "dataset"], tmp_path)
    machine = run(["--verify", "--output", "dataset", "--json", "--deep"], tmp_path)

    assert (sound.returncode, unsound.returncode, machine.returncode) == (0, 7, 7)
    assert "Sound" in sound.stdout
    assert "NOT SOUND: files" in unsound.stdout
    assert f"{SECOND} is missing" in unsound.stdout
    told = json.loads(machine.stdout)
    assert told["sound"] is False
    assert {check["name"]: check["found"] for check in told["checks"]}["files"] >= 1
    assert not (local / SECOND).exists()


def test_a_stop_is_heard(local: Path, tmp_path: Path) -> None:
    """Also a long check ends when it is asked to."""
    with pytest.raises(Interrupted):
        verify(LocalTarget(local), tmp_path / "indexes", stop_requested=lambda: True)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/test/train-words-00000.parquet", "test"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/th/test-00000-of-00001.parquet", "test"),
        ("th/validation/0000.parquet", "validation"),
        ("data/dev/0.parquet", "dev"),
        ("clips.parquet", "clips"),
    ],
)
def test_the_split_of_a_file_is_told_by_its_path(path: str, split: str) -> None:
    """In our layout and in those of others; a test clip must never be taken for one of train."""
    assert split_of(path) == split


def test_verifying_nothing_is_a_mistake_of_the_command(tmp_path: Path) -> None:
    """A mistyped folder must not be called sound."""
    done = run(["--verify", "--output", "no-such-folder"], tmp_path)

    assert done.returncode == 2
    assert "no-such-folder" in done.stderr


def take_out(folder: Path, row: int, length: float, number: int) -> None:
    """Remove a row of the first shard of train, and mend all books but the list of holes."""
    change_rows(folder, FIRST, lambda rows: rows[:row] + rows[row + 1 :])

    def one_less(books):
        ids = [(books.ids[0][0], number - 1), (number + 1, books.ids[0][1]), *books.ids[1:]]
        seconds = round(books.duration_s - length, 6)
        return replace(books, published=books.published - 1, duration_s=seconds, ids=tuple(ids))

    change_split(folder, SOURCE, "train", one_less)


def write_card(folder: Path, look: Look) -> None:
    repo_id = REPO if look.hub else None
    (folder / CARD_PATH).write_text(render_card(state_of(folder), (folder / CARD_PATH).read_text(), repo_id))


def test_a_folder_without_a_dataset_is_not_sound(tmp_path: Path) -> None:
    """Nothing was checked: that is said, and is no verdict."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")

    done = run(["--verify", "--output", "out"], tmp_path)

    assert done.returncode == 2
    assert "holds no dataset" in done.stderr
    assert "ound" not in done.stdout
