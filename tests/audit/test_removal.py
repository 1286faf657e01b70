"""`--remove`, `--remove-speaker`, `--remove-id`: clips go in one commit, their IDs are holes, and none comes again."""

import io
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.cli import parse
from pipeline.commands.remove import run_removal
from pipeline.interrupts import StopRequest
from pipeline.options import Command, Options
from pipeline.run.factory import make_target
from pipeline.run.run import run
from processors import describe
from tests.audit.test_repair import repaired
from tests.audit.test_verify import broken, checked
from tests.audit.voices import ANN, BOB, RELEASE, SPOKEN, VOICES, voices_run, write_voices
from tests.damage import state_of
from tests.hub_server import TOKEN, HubServer
from tests.small_runs import KEPT, SOURCE, StopAfter, ids_of, small_options, small_run, write_mirror
from tests.support import published_ids, published_rows, sample, tree
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.layout import REMOVED_PATH, STATE_PATH
from utils.errors import TargetRefused, UsageError
from utils.known.removals import RemovedList
from utils.rows.schema import SPLITS
from utils.streaming import StreamingUploader
from utils.upload.staging import KEPT_SEEK_POINT

REPO = "me/thai-voice"


def removal(machine: Path, **wishes: Any) -> str:
    """What `--remove ...` on the folder of a machine tells."""
    options = replace(small_options(machine), command=Command.REMOVE, **wishes)
    stop = StopRequest()
    return run_removal(options, make_target(options, None, stop), stop)


def listing(folder: Path, *names: str) -> Path:
    path = folder / "withdrawn.txt"
    path.write_text("\ufeff# consent withdrawn\r\n\r\n" + "".join(f"  {name}\r\n" for name in names))
    return path


def rejects_of(folder: Path) -> list[dict[str, str]]:
    paths = sorted(folder.glob("rejected/*/*.parquet"))
    return [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]


@pytest.fixture
def machine(voices: Path) -> Path:
    return voices


# --- what goes -------------------------------------------------------------------------------


def test_a_speaker_goes_from_every_split_and_nothing_else_changes(machine: Path) -> None:
    """Only shards with such a row are written again; IDs become holes; the counts, hours and card follow."""
    out = machine / "out"
    before, rows = tree(machine, "out"), published_rows(out).to_pylist()
    touched = {
        path
        for path in tree(out, "data")
        if ANN in pq.read_table(out / path, partitioning=None, columns=["speaker_id"])["speaker_id"].to_pylist()
    }

    told = removal(machine, remove_speakers=(ANN,))

    assert published_rows(out).to_pylist() == [row for row in rows if row["speaker_id"] != ANN]
    after, gone = tree(machine, "out"), {int(row["ID"][1:]) for row in rows if row["speaker_id"] == ANN}
    changed = {path.removeprefix("out/") for path in before if after.get(path) != before[path]}
    books = {f".ingest/{name}" for name in ("state.json", "state.previous.json", "files.jsonl")}
    known = {path.replace("data/", ".ingest/dedup/").replace(".parquet", ".arrow") for path in touched}
    assert changed - {"README.md"} == touched | books | known
    assert not known & {path.removeprefix("out/") for path in after}  # what knew the clips again is gone, too
    state = state_of(out)
    assert {number for first, last in state.holes for number in range(first, last + 1)} == gone
    assert state.next_id == len(rows) + 1
    kept = sum(split.published for split in state.sources[VOICES].splits.values())
    assert (kept, f"Rows that go: {len(gone)}" in told) == (len(rows) - len(gone), True)
    assert f"num_examples: {state.split(VOICES, 'train').published}\n" in (out / "README.md").read_text()
    assert broken(checked(out, deep=True)) == {}


def test_a_speaker_may_be_named_as_the_source_does(machine: Path) -> None:
    assert removal(machine, remove_speakers=(f"{VOICES}/ann",), dry_run=True) == removal(
        machine, remove_speakers=(ANN,), dry_run=True
    )


def test_doing_it_again_changes_nothing(machine: Path) -> None:
    """Not a byte; and it says so."""
    listed = listing(machine, "S2", f"{VOICES}/train/train-3")
    wishes = {"remove_speakers": (ANN,), "remove_ids": listed}
    removal(machine, **wishes)
    before = tree(machine, "out")
    put_away = sorted(machine.glob("out.before-*"))

    told = removal(machine, **wishes)

    assert "nothing was changed" in told
    assert (tree(machine, "out"), sorted(machine.glob("out.before-*"))) == (before, put_away)


def test_clips_go_by_id_or_source_id_whatever_the_file_looks_like(machine: Path) -> None:
    """A byte order mark, remarks, blank lines, spaces and CRLF; names that nothing has are told."""
    out = machine / "out"
    wanted = {row["ID"]: row["source_id"] for row in published_rows(out, ["ID", "source_id"]).to_pylist()}

    told = removal(
        machine,
        remove_ids=listing(machine, "S2", wanted["S5"], "S999", f"{VOICES}/train/never-seen"),
        allow_missing=True,
    )

    assert set(wanted) - set(published_ids(out)) == {"S2", "S5"}
    assert f"{VOICES}/train/never-seen, S999" in told
    assert broken(checked(out, deep=True)) == {}


def test_a_source_goes_with_all_its_shards_and_is_never_read_again(machine: Path) -> None:
    """Others stay as they are, to the byte; the next run passes over it; its IDs are not given again."""
    write_mirror(machine / "mirrors")
    small_run(machine, fresh=False)
    out = machine / "out"
    others = {path: content for path, content in tree(out, "data").items() if SOURCE in path}
    next_id = state_of(out).next_id

    told = removal(machine, remove=("mozillacommonvoice",))

    assert tree(out, "data") == others
    assert not any(VOICES in path for path in tree(out, ".ingest"))
    assert "Data files that lose all their rows" in told
    assert VOICES not in [line for line in (out / "README.md").read_text().splitlines() if "config_name" in line]
    assert broken(checked(out, deep=True)) == {}
    write_voices(machine / "mirrors", {**SPOKEN, "train": SPOKEN["train"] + "b"})
    result = voices_run(machine, fresh=False)
    assert result.nothing_to_do
    assert (tree(out, "data"), state_of(out).next_id) == (others, next_id)


def test_hints_about_what_goes_go_too(machine: Path) -> None:
    """A file beside the state that is named like a shard tells of its clips; those of other shards stay."""
    out = machine / "out"
    hints = [out / f".ingest/hints/{Path(path).parent.name}/{Path(path).stem}.bin" for path in tree(out, "data")]
    for hint in hints:
        hint.parent.mkdir(parents=True, exist_ok=True)
        hint.write_bytes(b"names of clips")
    before = tree(out, "data")

    removal(machine, remove_speakers=(ANN,))

    after = tree(out, "data")
    same = [after.get(path) == before[path] for path in before]
    assert {*same} == {True, False}
    assert [hint.exists() for hint in hints] == same


def test_what_an_older_version_left_of_an_archive_goes_with_anybody(machine: Path) -> None:
    """Whose audio is in it, nobody can tell; `--verify` finds it, and a repair takes it out, too."""
    left = machine / f"out/.ingest/seek-points/train/{SOURCE}.json"
    left.parent.mkdir(parents=True)
    shutil.copytree(machine / "out", machine / "twin/out")
    for target in (left, machine / "twin" / left.relative_to(machine)):
        target.write_text('{"points":[{"place":{"window":"eJwDAAAAAAE="}}],"revision":"r1","version":1}')

    assert broken(checked(machine / "out"))["files"][0].startswith(".ingest/seek-points/train/")
    removal(machine, remove_speakers=(ANN,))
    assert repaired(machine / "twin/out")
    for folder in (machine, machine / "twin"):
        assert not (folder / left.relative_to(machine)).exists()
        assert broken(checked(folder / "out")) == {}


def test_a_dry_run_only_tells(machine: Path) -> None:
    """The same words, and not a byte changed anywhere."""
    before = tree(machine, "out", "data", "checkpoints")

    told = removal(machine, remove_speakers=(ANN,), dry_run=True)
    done = removal(machine, remove_speakers=(ANN,))

    assert tree(machine, "data", "checkpoints") == {
        path: content for path, content in before.items() if not path.startswith("out/")
    }
    assert told.split("\n\n")[0] == done.split("\n\n")[0]
    assert "Nothing was changed" in told


def test_everything_may_go(machine: Path) -> None:
    """A dataset without a row is sound, too."""
    removal(machine, remove=(VOICES,))

    assert published_ids(machine / "out") == []
    assert broken(checked(machine / "out", deep=True)) == {}


def test_the_list_has_no_names(machine: Path) -> None:
    """Neither of clips nor of speakers: hashes, with a key of the dataset's own."""
    removal(machine, remove_speakers=(ANN,), remove_ids=listing(machine, "S2"))

    raw = (machine / "out" / REMOVED_PATH).read_bytes()
    assert not any(name in raw for name in (b"train-", b"test-", b"SPK_", VOICES.encode()))
    listed = RemovedList.from_json(raw)
    assert listed.means("x/y", ANN)
    assert not listed.means("x/y", BOB)
    assert not replace(listed, key="another").means("x/y", ANN)


# --- never again -----------------------------------------------------------------------------


def test_a_newer_revision_does_not_bring_them_back(machine: Path) -> None:
    """What was taken out, and new clips of the same speaker, are rejects of their own reason; no name is told."""
    out = machine / "out"
    removal(machine, remove_speakers=(ANN,), remove_ids=listing(machine, f"{VOICES}/train/train-2"))
    holes = state_of(out).holes
    write_voices(machine / "mirrors", {**SPOKEN, "train": SPOKEN["train"] + "ab"})

    voices_run(machine, fresh=False)

    removed = [row for row in rejects_of(out) if row["reason"] == "removed"]
    spoken_by_ann = sum(voices.count("a") for voices in SPOKEN.values()) + 1
    assert len(removed) == spoken_by_ann + 1
    assert all(row["source_id"].split("/")[2].startswith("removed-") for row in removed)
    rows = {row["source_id"]: row["speaker_id"] for row in published_rows(out).to_pylist()}
    assert ANN not in rows.values()
    assert f"{VOICES}/train/train-11" in rows
    assert state_of(out).holes == holes
    assert broken(checked(out, deep=True)) == {}
    before = tree(machine, "out")
    voices_run(machine, fresh=False)
    assert tree(machine, "out") == before


def test_a_clip_does_not_come_back_when_its_speaker_has_another_name(machine: Path) -> None:
    """A new release calls a speaker otherwise, and cuts the clips otherwise: they stay out by their own names."""
    removal(machine, remove_speakers=(ANN,))
    went = {
        name
        for name in rows_by_source_id(next(machine.glob("out.before-removal-*")))
        if name not in rows_by_source_id(machine / "out")
    }
    write_voices(machine / "mirrors", {**SPOKEN, "train": SPOKEN["train"].replace("a", "c") + "b"}, 0.2)

    voices_run(machine, fresh=False)

    assert went
    assert not went & set(rows_by_source_id(machine / "out"))


def rows_by_source_id(folder: Path) -> list[str]:
    return published_rows(folder, ["source_id"])["source_id"].to_pylist()


def test_the_same_comes_of_it_on_another_machine(machine: Path) -> None:
    """With an empty folder, the target alone tells what is never to come: byte for byte the same dataset."""
    removal(machine, remove_speakers=(ANN,))
    write_voices(machine / "mirrors", {**SPOKEN, "train": SPOKEN["train"] + "ab"})
    other = machine / "other"
    for name in ("out", "mirrors"):
        shutil.copytree(machine / name, other / name)

    voices_run(machine, fresh=False)
    voices_run(other, fresh=False)
    write_voices(machine / "mirrors", {**SPOKEN, "train": SPOKEN["train"] + "abab"})
    write_voices(other / "mirrors", {**SPOKEN, "train": SPOKEN["train"] + "abab"})
    voices_run(machine, fresh=False)
    shutil.rmtree(other / "data")
    voices_run(other, fresh=False)

    assert tree(machine / "out", "data", "rejected") == tree(other / "out", "data", "rejected")
    assert broken(checked(other / "out", deep=True)) == {}


def test_what_is_staged_here_is_not_published_afterwards(machine: Path) -> None:
    """A run was interrupted; a speaker of staged clips withdraws: they are deleted, the others read again."""
    small = {"upload_batch_size": 50, "resume": True}
    shutil.rmtree(machine / "out")
    voices_run(machine, stop=StopAfter(13), upload_batch_size=50)
    staged = list((machine / "data/staging").rglob("*.arrow"))
    assert staged
    (half := staged[0].with_name("segment.tmp")).write_bytes(b"of a run that was killed")
    (entry := staged[0].with_name(KEPT_SEEK_POINT)).write_bytes(b"audio before a place")
    (older := staged[0].with_name("of-an-older-version.parquet")).write_bytes(b"PAR1")
    (built := staged[0].parents[2] / "built/data-train-x.parquet").parent.mkdir(exist_ok=True)
    built.write_bytes(b"of a run that was killed")

    removal(machine, remove_speakers=(ANN,))

    assert not list((machine / "data/staging").rglob("*.arrow"))
    assert not any(path.exists() for path in (half, older, entry))
    voices_run(machine, **small)
    speakers = Counter(row["speaker_id"] for row in published_rows(machine / "out").to_pylist())
    assert (speakers[ANN], speakers[BOB]) == (0, sum(voices.count("b") for voices in SPOKEN.values()))
    assert broken(checked(machine / "out", deep=True)) == {}


def test_what_another_machine_has_staged_is_not_published_either(machine: Path) -> None:
    """Its segments are older than the list: deleted, not kept aside, and read again."""
    shutil.rmtree(machine / "out")
    voices_run(machine, stop=StopAfter(13), upload_batch_size=50)
    shutil.copytree(machine / "out", machine / "elsewhere/out")
    removal(machine / "elsewhere", remove_speakers=(ANN,))
    shutil.rmtree(machine / "out")
    shutil.copytree(machine / "elsewhere/out", machine / "out")
    assert list((machine / "data/staging").rglob("*.arrow"))

    voices_run(machine, resume=True, upload_batch_size=50)

    assert ANN not in published_rows(machine / "out", ["speaker_id"])["speaker_id"].to_pylist()
    assert not list((machine / "data/staging").rglob("*.arrow"))
    assert broken(checked(machine / "out", deep=True)) == {}


def test_a_fresh_dataset_goes_on_with_the_list(machine: Path) -> None:
    """Whoever withdrew consent did not withdraw it from one generation."""
    removal(machine, remove_speakers=(ANN,), remove_ids=listing(machine, f"{VOICES}/train/train-2"))

    voices_run(machine)

    out = machine / "out"
    assert ANN not in published_rows(out, ["speaker_id"])["speaker_id"].to_pylist()
    assert f"{VOICES}/train/train-2" not in published_rows(out, ["source_id"])["source_id"].to_pylist()
    assert state_of(out).holes == ()
    assert broken(checked(out, deep=True)) == {}


def test_a_script_does_not_upload_them_again(tmp_path: Path) -> None:
    """Neither under the same ID nor for the same speaker."""
    folder = tmp_path / "out"
    given = {"checkpoint_path": tmp_path / "c.json", "target": LocalTarget(folder), "staging_dir": tmp_path / "staging"}
    samples = [sample(1, speaker_id=ANN), sample(2, speaker_id=BOB), sample(3), sample(4, speaker_id=ANN)]
    named = {**sample(5), "ID": "by-name"}
    with StreamingUploader("me/x", append_mode=True, **given) as uploader:
        uploader.upload_batch([*samples[:3], named])
    options = Options(output=folder, data_dir=tmp_path / "data", remove_speakers=(ANN,))
    run_removal(replace(options, remove_ids=listing(tmp_path, "S3", "by-name")), LocalTarget(folder), StopRequest())
    assert published_ids(folder) == ["S2"]
    assert broken(checked(folder)) == {}

    with StreamingUploader("me/x", append_mode=True, **given) as uploader:
        taken = [uploader.add_sample(one) for one in [*samples, named, sample(6)]]

    assert taken == [False, False, False, False, False, True]
    assert published_ids(folder) == ["S2", "S6"]
    assert broken(checked(folder)) == {}


def test_a_script_does_not_upload_their_recordings_either(machine: Path) -> None:
    """As they were published, as the source has them, or quieter; nor an ID in another split."""
    rows = {row["ID"]: row for row in published_rows(machine / "out").to_pylist()}
    (gone, *_), (kept, *_) = (
        [row for row in rows.values() if row["speaker_id"] == speaker and "/train/" in row["source_id"]]
        for speaker in (ANN, BOB)
    )
    source = machine / "mirrors" / describe(VOICES).mirror / RELEASE / "clips"
    removal(machine, remove_speakers=(ANN,))
    target = LocalTarget(machine / "out")
    given = {"checkpoint_path": machine / "c.json", "target": target, "staging_dir": machine / "staging"}

    def forms(row: dict[str, Any]) -> list[Any]:
        of_source = (source / row["source_id"].split("/")[-1]).with_suffix(".mp3").read_bytes()
        samples, rate_hz = soundfile.read(io.BytesIO(of_source))
        return [row["audio"]["bytes"], of_source, {"array": samples / 3, "sampling_rate": rate_hz}]

    with StreamingUploader("me/x", append_mode=True, split="test", **given) as uploader:
        taken = {
            (row["ID"], at): uploader.add_sample(
                {"ID": f"{row['ID']}-{at}", "audio": form, "transcript": row["transcript"]}
            )
            for row in (gone, kept)
            for at, form in enumerate(forms(row))
        }
        assert taken == {(row["ID"], at): row is kept for row in (gone, kept) for at in range(3)}
        assert not uploader.add_sample({**sample(900), "ID": gone["ID"]})


def test_what_a_dead_run_left_goes_as_well(machine: Path) -> None:
    """A shard that no state names is read by whoever loads the folder: it is put away, and that is told."""
    out = machine / "out"
    left = out / f"data/train/{VOICES}-00007.parquet"
    shutil.copy(next(out.glob("data/train/*.parquet")), left)

    with pytest.raises(UsageError, match="Nothing was changed"):
        removal(machine, remove_ids=listing(machine, "a/typo"))
    assert left.exists()
    told = removal(machine, remove_speakers=(ANN,))

    assert not left.exists()
    assert "out.set-aside" in told
    assert broken(checked(out, deep=True)) == {}


def test_a_list_that_the_state_does_not_name_is_not_passed_over(machine: Path) -> None:
    """An older copy of the dataset was put over the one from which clips were taken out."""
    shutil.copytree(machine / "out", machine / "backup")
    removal(machine, remove_speakers=(ANN,))
    shutil.copytree(machine / "backup", machine / "out", dirs_exist_ok=True)
    write_voices(machine / "mirrors", {**SPOKEN, "train": SPOKEN["train"] + "ab"})

    for fresh in (False, True):
        with pytest.raises(TargetRefused, match="its state names none"):
            voices_run(machine, fresh=fresh)
    assert "its state names none" in broken(checked(machine / "out"))["taken out"][0]


def test_no_state_from_before_a_removal_is_advised(machine: Path) -> None:
    """What `--verify` says to type must not bring anybody back."""
    out = machine / "out"
    (out / "README.md").write_text("by hand")
    assert repaired(out)
    removal(machine, remove_speakers=(ANN,))
    (out / STATE_PATH).write_bytes(b"{}")

    found = next(check for check in checked(out).checks if check.name == "state")

    assert found.remedy
    assert "before-repair" not in " ".join(found.remedy)


def test_a_clip_named_beside_its_whole_source_stays_out_of_others(machine: Path) -> None:
    """Both wishes hold: the source goes, and the recording does not come back by another one."""
    row = next(row for row in published_rows(machine / "out").to_pylist() if row["speaker_id"] == ANN)

    removal(machine, remove=(VOICES,), remove_ids=listing(machine, row["source_id"]), source_only=True)

    listed = RemovedList.from_json((machine / "out" / REMOVED_PATH).read_bytes())
    assert listed.means_audio(row["audio_hash"])
    assert len(listed.audio) == 1


# --- what can't be done ----------------------------------------------------------------------


def test_a_lost_list_stops_a_run(machine: Path) -> None:
    """Without it, what was taken out would be collected again; --verify finds it, too."""
    removal(machine, remove_speakers=(ANN,))
    (machine / "out" / REMOVED_PATH).write_bytes(b"{}")

    with pytest.raises(TargetRefused, match="taken out for good"):
        voices_run(machine, fresh=False)
    with pytest.raises(TargetRefused, match="taken out for good"):
        voices_run(machine)
    assert "taken out" in broken(checked(machine / "out"))


def test_a_list_that_is_not_the_one_that_was_signed_is_refused(machine: Path) -> None:
    """A whole list, but one with less on it."""
    removal(machine, remove_speakers=(ANN,))
    path = machine / "out" / REMOVED_PATH
    path.write_bytes(replace(RemovedList.from_json(path.read_bytes()), speakers=frozenset()).to_json())

    with pytest.raises(TargetRefused, match="not what its state names"):
        voices_run(machine, fresh=False)


def test_a_row_that_came_back_is_found(machine: Path) -> None:
    """`--verify` holds every row against the list."""
    removal(machine, remove_speakers=(ANN,))
    out, (kept,) = machine / "out", machine.glob("out.before-removal-*")
    path = next(path for path in sorted(tree(out, "data")) if tree(kept, "data")[path] != tree(out, "data")[path])
    shutil.copy(kept / path, out / path)

    assert "taken out" in broken(checked(out))


def test_what_makes_no_sense_is_refused(machine: Path) -> None:
    """With the reason, and nothing is changed."""
    before = tree(machine, "out")
    (machine / "none.txt").write_text("# nobody\n")

    for wishes, reason in [
        ({"remove": (SOURCE,)}, "holds no source"),
        ({"remove": ("NoSuchCorpus",)}, "There is no source"),
        ({"remove_speakers": ("ann",)}, "No row has the speaker ann. Nothing was changed"),
        ({"remove_speakers": ("NoSuchCorpus/ann",)}, "No row has the speaker"),
        ({"remove_ids": machine / "gone.txt"}, "can't be read"),
        ({"remove_ids": machine / "none.txt"}, "lists no clip"),
    ]:
        with pytest.raises((UsageError, TargetRefused), match=reason):
            removal(machine, **wishes)
    assert tree(machine, "out") == before


def test_damage_is_never_signed(machine: Path) -> None:
    """A shard that is not as it was committed is not written again; nor is anything when a file is gone."""
    out = machine / "out"
    path = out / f"data/train/{VOICES}-00000.parquet"
    whole, clip = path.read_bytes(), pq.read_table(path, partitioning=None)["audio"][1].as_py()["bytes"]
    at = whole.index(clip) + len(clip) // 2

    for damaged, reason in [
        (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "not the file that was committed"),
        (whole[:-5], "can't be read"),
        (None, "lacks 1 published"),
    ]:
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        before = tree(machine, "out")

        with pytest.raises(TargetRefused, match=reason):
            removal(machine, remove_speakers=(ANN,))
        assert tree(machine, "out") == before


def test_the_command_line_says_what_goes() -> None:
    """All three together, several times; what is named beside it would be left out without a word, so it is refused."""
    options = parse(["--remove", "A", "--remove", "B", "--remove-speaker", ANN, "--remove-id", "f.txt", "--dry-run"])

    assert (options.command, options.remove, options.remove_speakers) == (Command.REMOVE, ("A", "B"), (ANN,))
    assert (options.remove_ids, options.dry_run) == (Path("f.txt"), True)
    for given in (["--remove", "A", "B"], ["--remove", "A", "--all"], ["--remove", "A", "--fresh"], ["--dry-run"]):
        with pytest.raises(UsageError):
            parse(given)
    with pytest.raises(UsageError, match="SPK_"):
        parse(["--remove-speaker", " "])


# --- where it still is -----------------------------------------------------------------------


def test_a_folder_tells_what_still_holds_the_clips(machine: Path) -> None:
    """The dataset as it was, with the command that deletes it."""
    told = removal(machine, remove_speakers=(ANN,))

    (kept,) = machine.glob("out.before-removal-*")
    assert f"rm -r {kept}" in told
    assert ANN in published_rows(kept, ["speaker_id"])["speaker_id"].to_pylist()


def test_on_the_hub_it_is_one_commit_and_the_history_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tag is made for what is to go; those that are there are named, with the command that squashes the history."""
    with HubServer(machine / "server") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        on_hub = {"hf_repo": REPO, "accept_terms": frozenset({VOICES}), "patience_minutes": 0.01}
        for _ in range(2):
            hub_run(machine, **on_hub)
        commits, old_head = len(hub.commit_titles(REPO)), hub.head(REPO)

        told = hub_removal(machine, **on_hub)

        assert len(hub.commit_titles(REPO)) == commits + 1
        (tag,) = named_tags(told)
        assert tag.startswith("before-fresh-")
        assert f"super_squash_history('\"'\"'{REPO}'\"'\"'" in told
        assert old_head[:12] in told
        head = hub.head(REPO)
        assert "nothing was changed" in hub_removal(machine, **on_hub)
        assert hub.head(REPO) == head
        hub_run(machine, **on_hub)
        target = HubTarget(REPO, TOKEN, machine, patience_s=0.4)
        assert broken(verify(target, machine / "indexes", deep=True, repo_id=REPO)) == {}
        snapshot = target.snapshot()
        shards = [path for path in hub.files(REPO) if path.startswith("data/")]
        tables = [target.read_columns(path, ["speaker_id"], snapshot) for path in shards]
        speakers = {name for table in tables for name in table["speaker_id"].to_pylist()}
        assert (BOB in speakers, ANN in speakers) == (True, False)


def hub_run(machine: Path, **options: Any) -> None:
    chosen, stop = small_options(machine, sources=(VOICES,), **options), StopRequest()
    run(chosen, make_target(chosen, TOKEN, stop), TOKEN, stop)


def hub_removal(machine: Path, **options: Any) -> str:
    chosen, stop = small_options(machine, command=Command.REMOVE, remove_speakers=(ANN,), **options), StopRequest()
    return run_removal(chosen, make_target(chosen, TOKEN, stop), stop)


def named_tags(told: str) -> list[str]:
    """The tags that a message tells how to delete."""
    return [line.split()[5] for line in told.splitlines() if line.strip().startswith("hf repos tag delete")]


def test_small_source_has_what_the_tests_count_on(tmp_path: Path) -> None:
    """The other source's clips are all published, in all splits."""
    write_mirror(tmp_path / "mirrors")
    small_run(tmp_path)

    assert sum(len(ids_of(tmp_path / "out", split)) for split in SPLITS) == KEPT
