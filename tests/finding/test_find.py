"""`--find`: a clip, a speaker, words or a recording is found wherever the dataset has it, and nothing is changed."""

import io
import json
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.cli import parse
from pipeline.commands.find import run_find
from pipeline.commands.remove import run_removal
from pipeline.interrupts import StopRequest
from pipeline.options import Command
from pipeline.run.factory import make_target
from pipeline.terminal.typesetting import display_width
from tests.audit.test_removal import listing, removal
from tests.audit.voices import ANN, BOB, VOICES, voices_run, write_voices
from tests.hub_server import TOKEN, HubServer
from tests.known.test_dedup_near import FORMS, SENTENCE, speech, wav_bytes
from tests.known.two_sources import FIRST, read_both, write_first, write_second
from tests.rows.pairs import SOURCE as PAIRS_SOURCE
from tests.rows.pairs import register, write_pairs
from tests.runs import run
from tests.small_runs import SOURCE, StopAfter, StopWhen, small_options, small_run
from tests.support import published_ids, published_rows, tree
from utils.audio.fingerprint import SAME_RECORDING
from utils.errors import TargetRefused, UsageError
from utils.finding.wanted import ALIKE
from utils.upload.shard_index_files import from_bytes, to_bytes

CLIP, OTHER, LATIN = f"{FIRST}/train/0-1-2", f"{FIRST}/train/0-1-3", f"{SOURCE}/train/own"
COPY = f"{SOURCE}/train/re-encoded"
WORDS = {CLIP: SENTENCE, OTHER: "ดื่มน้ำชา", LATIN: "OK ครับ Café 5"}
REPO = "me/thai-voice"
WIDTH = 80


def write_mirrors(machine: Path) -> None:
    """`FIRST` has two clips; `SOURCE` one of those in another form, which is a reject, and one of its own."""
    clips = [("0-1-2", wav_bytes(speech(2)), WORDS[CLIP]), ("0-1-3", wav_bytes(speech(3)), WORDS[OTHER])]
    write_first(machine, train=clips)
    second = [("re-encoded", FORMS["mp3, 16 kbit/s"](speech(2)), SENTENCE), ("own", wav_bytes(speech(4)), WORDS[LATIN])]
    write_second(machine, train=second)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = tmp_path_factory.mktemp("made")
    write_mirrors(machine)
    read_both(machine)
    return machine


@pytest.fixture
def machine(made: Path, tmp_path: Path) -> Path:
    for name in ("mirrors", "out"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of a source that names its speakers; only read."""
    machine = tmp_path_factory.mktemp("spoken")
    write_voices(machine / "mirrors")
    voices_run(machine)
    return machine


def look(machine: Path, what: str, stop: StopRequest | None = None, **options: Any) -> tuple[str, int]:
    """What `--find` tells, and its exit code."""
    chosen = replace(small_options(machine), command=Command.FIND, find=what, **options)
    stop = stop or StopRequest()
    return run_find(chosen, make_target(chosen, None, stop), stop)


def seen(machine: Path, what: str, **options: Any) -> dict[str, Any]:
    told, _ = look(machine, what, as_json=True, **options)
    found: dict[str, Any] = json.loads(told)
    return found


def names(found: dict[str, Any], kind: str = "row") -> list[str]:
    return [clip["source_id"] for clip in found["clips"] if clip["kind"] == kind]


def file(machine: Path, content: bytes, name: str = "interview") -> str:
    path = machine / name
    path.write_bytes(content)
    return str(path)


# --- by name ---------------------------------------------------------------------------------


def test_a_clip_is_found_by_what_it_is_called(machine: Path) -> None:
    """Its ID, its source id, or the end of that; told with all that is known of it."""
    rows = {row["source_id"]: row for row in published_rows(machine / "out").to_pylist()}
    wanted = rows[CLIP]

    for what, by in [(wanted["ID"], "ID"), (CLIP, "source id"), ("0-1-2", "source id"), ("train/0-1-2", "source id")]:
        (clip,) = [one for one in seen(machine, what)["clips"] if one["kind"] == "row"]
        assert clip["found_by"] == [by], what
        assert (clip["ID"], clip["source_id"], clip["text"]) == (wanted["ID"], CLIP, SENTENCE)
        assert clip["length_s"] == pytest.approx(wanted["length"])
        shard = pq.read_table(machine / "out" / clip["file"], partitioning=None)
        assert CLIP in shard["source_id"].to_pylist()
    for what in ("1-2", "0-1", "rain/0-1-2", wanted["ID"].lower()):
        assert names(seen(machine, what)) == [], what


def test_a_reject_is_found_by_its_name_and_by_that_of_the_clip_that_it_repeats(machine: Path) -> None:
    """Its detail names the clip: who takes that out wants to know."""
    of_reject, of_clip = seen(machine, COPY), seen(machine, CLIP)

    (reject,) = of_reject["clips"]
    assert (reject["kind"], reject["source_id"], reject["found_by"]) == ("reject", COPY, ["source id"])
    assert "duplicate" in reject["text"]
    assert (names(of_clip), names(of_clip, "reject")) == ([CLIP], [COPY])


@pytest.mark.parametrize("what", [ANN, "ann", f"{VOICES}/ann"])
def test_a_speaker_is_found_by_published_id_and_by_the_sources_own_name(spoken: Path, what: str) -> None:
    """All rows, and none of another's; the command names the speaker, not the clips."""
    found = seen(spoken, what)

    rows = published_rows(spoken / "out").to_pylist()
    assert sorted(names(found)) == sorted(row["source_id"] for row in rows if row["speaker_id"] == ANN) != []
    assert found["to_remove"] == {"speakers": [ANN], "clips": []}
    assert f"--remove-speaker={ANN} " in look(spoken, what)[0]
    assert BOB not in look(spoken, what)[0]


# --- by words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (SENTENCE, CLIP),
        ("อากาศ ร้อน,ไป", CLIP),
        ("“อากาศร้อน”!", CLIP),
        ("น้ำ", OTHER),
        ("น\u0e49\u0e4d\u0e32", OTHER),  # sara am in two, behind the tone
        ("น\u0e4d\u0e49\u0e32", OTHER),  # and around it
        ("ok ครับ", LATIN),
        ("CAFÉ", LATIN),
        (unicodedata.normalize("NFD", "ครับ café 5"), LATIN),
    ],
)
def test_words_are_found_however_they_are_written(machine: Path, words: str, wanted: str) -> None:
    """A part is enough; case, marks, spaces and Unicode's forms do not count."""
    found = seen(machine, words)

    assert names(found) == [wanted]
    assert found["clips"][0]["found_by"] == ["words"]


def test_words_of_dialogue_are_found_in_question_and_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a row's ID as well; a recording passes over such rows."""
    register(monkeypatch)
    write_pairs(tmp_path / "mirrors")
    small_run(tmp_path, sources=(PAIRS_SOURCE,))

    for what in ("คำถามที่ 21", "คำตอบ ที่ 21", "D2"):
        (clip,) = seen(tmp_path, what)["clips"]
        assert (clip["ID"], clip["source_id"], clip["length_s"]) == ("D2", f"{PAIRS_SOURCE}/test/21", None), what
        assert "คำถามที่ 21? / คำตอบที่ 21" in clip["text"]
        assert seen(tmp_path, what)["to_remove"]["clips"] == ["D2"]
    assert seen(tmp_path, file(tmp_path, wav_bytes(speech(2))))["found"] == 0


def test_other_words_are_not_found(machine: Path) -> None:
    """A tone or a digit more makes other words; marks alone are none."""
    for words in ("นำ", "ครับ 6", "!!!", "\u200b"):
        assert seen(machine, words)["found"] == 0, words


def test_words_that_no_file_can_be_called_are_words(machine: Path) -> None:
    assert seen(machine, "คำ" * 3000)["found"] == 0
    assert names(seen(machine, "ไป\0ตลาด")) == [CLIP]


# --- by sound --------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_recording_is_found_in_another_form(machine: Path, form: str, indexed: bool) -> None:
    """Also where no index file tells what the shard's clips sound like; with the reject that repeats it."""
    if not indexed:
        shutil.rmtree(machine / "out/.ingest/dedup")

    found = seen(machine, file(machine, FORMS[form](speech(2))))

    assert names(found) == [CLIP]
    assert names(found, "reject") == [COPY]
    clip = found["clips"][0]
    assert clip["found_by"] in (["sound"], ["the same samples"])
    assert SAME_RECORDING <= clip["likeness"] <= 1


def test_the_very_same_samples_are_told_apart_from_a_likeness(machine: Path) -> None:
    """Of the source's file, of the published clip, and of the former in another container."""
    (audio,) = [row["audio"] for row in published_rows(machine / "out").to_pylist() if row["source_id"] == CLIP]

    samples, rate_hz = soundfile.read(io.BytesIO(wav_bytes(speech(2))), dtype="int16")
    packed = io.BytesIO()
    soundfile.write(packed, samples, rate_hz, format="FLAC")
    for content in (wav_bytes(speech(2)), audio["bytes"], packed.getvalue()):
        clip = seen(machine, file(machine, content))["clips"][0]
        assert (clip["source_id"], clip["found_by"], clip["likeness"]) == (CLIP, ["the same samples"], 1.0)
    told, _ = look(machine, file(machine, FORMS["mp3, 48 kHz"](speech(2))))
    assert "sound, 9" in told
    assert "100 %" not in told


def test_what_is_only_somewhat_like_it_is_told_and_not_named_for_removal(machine: Path) -> None:
    """Somebody else talks in the background: it may be the recording, and has to be listened to."""
    clip, other = speech(2), speech(9)
    count = min(len(clip), len(other))
    what = file(machine, wav_bytes((clip[:count] + 0.12 * other[:count]) / 2))

    (found,) = [one for one in seen(machine, what)["clips"] if one["kind"] == "row"]
    told, code = look(machine, what)

    assert found["source_id"] == CLIP
    assert ALIKE <= found["likeness"] < SAME_RECORDING
    assert code == 0
    assert "Listen to those under 85 %" in told
    assert found["ID"] not in seen(machine, what)["to_remove"]["clips"]


def test_an_index_file_that_is_not_of_the_shard_is_not_believed(machine: Path) -> None:
    """It has other clips' names, or is damaged: the shard itself is read."""
    what = file(machine, FORMS["opus"](speech(2)))
    (shard,) = (machine / "out/data/train").glob(f"{FIRST}-*.parquet")
    index = machine / "out/.ingest/dedup/train" / f"{shard.stem}.arrow"
    sound = index.read_bytes()
    entries = from_bytes(sound, "near", 2, shard.stat().st_size)
    assert entries is not None
    others = [replace(one, source_id=f"{one.source_id}-x", fingerprint=b"") for one in entries]

    for content in (to_bytes(others, "near", shard.stat().st_size), sound[:-1] + b"x"):
        index.write_bytes(content)
        assert names(seen(machine, what)) == [CLIP]


def test_another_recording_is_not_found(machine: Path) -> None:
    """Exit 2, and what can't be found so is said."""
    told, code = look(machine, file(machine, wav_bytes(speech(8))))

    assert code == UsageError.exit_code
    assert "Nothing was found in 3 rows" in told
    assert "A part of a longer recording is not found" in " ".join(told.split())


# --- what is staged --------------------------------------------------------------------------


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """A machine whose run was stopped when both clips of `FIRST` were staged, in a segment each, and none published."""
    write_mirrors(tmp_path)
    read_both(tmp_path, StopAfter(3), sources=(FIRST,), upload_batch_size=100, checkpoint_interval=1)
    return tmp_path


def test_what_waits_on_this_machine_is_found(staging: Path) -> None:
    """By name, words and sound; it has no ID yet, and it is no row of the dataset yet."""
    form = file(staging, FORMS["telephone"](speech(2)))

    for what in (CLIP, "0-1-2", "วันนี้อากาศ", form):
        told, code = look(staging, what)
        found = seen(staging, what)
        assert (names(found, "staged"), names(found), code) == ([CLIP], [], 0), what
        assert found["to_remove"]["clips"] == [CLIP]
        assert "--allow-missing" in told
        assert "data/staging" in found["clips"][0]["file"]


def test_what_was_set_aside_is_found_too(staging: Path) -> None:
    """It stays for a month."""
    folder = next((staging / "data/staging").glob("*"))
    (folder / "set-aside").mkdir()
    for path in folder.glob("*/*/*.arrow"):
        path.rename(folder / "set-aside" / f"{path.parent.parent.name}-{path.parent.name}-{path.name}")

    assert names(seen(staging, CLIP), "staged") == [CLIP]


def test_a_damaged_segment_is_told_and_the_rest_is_found(staging: Path) -> None:
    """Exit 6: something may be in there."""
    paths = sorted((staging / "data/staging").rglob("*.arrow"))
    paths[-1].write_bytes(paths[-1].read_bytes()[:-100])

    told, code = look(staging, CLIP)

    assert code == TargetRefused.exit_code
    assert f"\nNot looked at: {paths[-1]}: it is damaged" in told
    assert names(seen(staging, CLIP), "staged") == [CLIP]


def test_what_is_published_while_it_is_looked_for_is_told(staging: Path) -> None:
    """By a run to a repo, which a look does not lock: the segment is gone, and the revision that is read is older."""
    (first,) = (staging / "data/staging").rglob("000000000000-*.arrow")

    def goes() -> bool:
        first.unlink(missing_ok=True)
        return False

    told, code = look(staging, CLIP, stop=StopWhen(goes))

    assert (code, f"Not looked at: {first}: a run has published it meanwhile" in told) == (6, True)


# --- what was taken out ----------------------------------------------------------------------


def test_what_was_taken_out_is_told(machine: Path) -> None:
    """By its names and by its sound; the rejects that stand for it are found."""
    form = file(machine, FORMS["opus"](speech(2)))
    gone = seen(machine, CLIP)["clips"][0]["ID"]
    removal(machine, remove_ids=listing(machine, CLIP))
    read_both(machine)

    for what in (CLIP, "0-1-2", "train/0-1-2"):
        found = seen(machine, what)
        assert names(found) == [], what
        assert found["taken_out"] == [f"The clip {CLIP} is on the list of what was taken out."]
        (reject,) = found["clips"]
        assert "/removed-" in reject["source_id"]
        assert found["to_remove"] == {"speakers": [], "clips": []}
        assert look(machine, what)[1] == 0
    assert "is on the list" in seen(machine, form)["taken_out"][0]
    assert seen(machine, form)["found"] == 0
    assert "on the list" in seen(machine, file(machine, wav_bytes(speech(2))))["taken_out"][0]
    assert seen(machine, OTHER)["taken_out"] == []
    assert gone


def test_an_id_that_was_taken_out_is_told(machine: Path) -> None:
    gone = seen(machine, CLIP)["clips"][0]["ID"]
    removal(machine, remove_ids=listing(machine, gone))

    told, code = look(machine, gone)

    (old,) = machine.glob("out.before-removal-*")
    assert f"Not looked through: {old}\n" in f"{told}\n"
    assert (f"The ID {gone} stands for nothing any more" in told, code) == (True, 0)


def test_a_speaker_and_a_source_that_were_taken_out_are_told(spoken: Path, tmp_path: Path) -> None:
    for name in ("mirrors", "out"):
        shutil.copytree(spoken / name, tmp_path / name)
    removal(tmp_path, remove_speakers=(ANN,))

    assert "The speaker ann is on the list" in look(tmp_path, "ann")[0]
    removal(tmp_path, remove=(VOICES,))
    assert f"The source {VOICES} is on the list" in look(tmp_path, VOICES.lower())[0]


def test_the_command_that_is_told_takes_out_what_was_found(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there, typed into a shell; until then nothing is changed."""
    monkeypatch.chdir(machine)
    what = file(machine, FORMS["opus"](speech(2)))
    before = tree(machine, "out")

    told, _ = look(machine, what)

    assert tree(machine, "out") == before
    listed, command = (line.strip() for line in told.splitlines() if line.startswith("  ") and "    " not in line[:4])
    words = shlex.split(listed)
    assert (words[:2], words[-2]) == (["printf", r"%s\n"], ">")
    Path(words[-1]).write_text("".join(f"{name}\n" for name in words[2:-2]))
    arguments = shlex.split(command)[2:]
    assert arguments[-1] == "--dry-run"
    options = replace(parse(arguments[:-1]), data_dir=machine / "data")
    run_removal(options, make_target(options, None, StopRequest()), StopRequest())
    assert CLIP not in [row["source_id"] for row in published_rows(machine / "out").to_pylist()]
    assert len(published_ids(machine / "out")) == 2


def test_who_says_a_name_is_not_named_with_who_has_it(tmp_path: Path) -> None:
    """They are told, and stay unless they are listed by hand."""
    clips = [("0-1-2", wav_bytes(speech(2)), "หนึ่ง"), ("0-1-3", wav_bytes(speech(3)), "คลิป S1 ครับ")]
    write_first(tmp_path, train=clips)
    read_both(tmp_path, sources=(FIRST,))

    found = seen(tmp_path, "S1")

    assert [clip["found_by"] for clip in found["clips"]] == [["ID"], ["words"]]
    assert found["to_remove"]["clips"] == ["S1"]
    assert "words alone is not named below" in look(tmp_path, "S1")[0]
    assert seen(tmp_path, "s1 ครับ")["to_remove"]["clips"] == ["S2"]


# --- nothing, and errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slip", "meant"), [("0-1-2.wav", CLIP), (CLIP.replace("-2", "-4"), CLIP), ("s2", "S2"), ("Own", LATIN)]
)
def test_where_nothing_is_found_the_nearest_name_is_told(machine: Path, slip: str, meant: str) -> None:
    """Exit 2, as `--remove-id` would have it."""
    told, code = look(machine, slip)

    assert code == UsageError.exit_code
    assert "Nothing was found in 3 rows" in told
    assert f"Did you mean {meant}?" in told
    assert seen(machine, slip)["did_you_mean"] == meant


def test_a_source_is_no_clip_and_is_told(machine: Path) -> None:
    """Somebody may look for one by its name."""
    told, code = look(machine, FIRST.lower())

    assert code == UsageError.exit_code
    assert f"{FIRST} is a source of it: --status counts its clips" in told


def test_only_the_sources_that_are_named_are_looked_through(machine: Path) -> None:
    assert names(seen(machine, CLIP, find_in=(FIRST.lower(),))) == [CLIP]
    told, code = look(machine, CLIP, find_in=(SOURCE,))
    assert names(seen(machine, "ครับ", find_in=(SOURCE,))) == [LATIN]
    assert code == 0  # its reject repeats that clip
    assert f"({CLIP}" not in told
    with pytest.raises(UsageError, match=f"holds no source Nowhere.*It holds: {FIRST}, {SOURCE}"):
        look(machine, CLIP, find_in=("Nowhere",))


def test_a_file_that_is_no_audio_is_refused(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine)
    for what, content, said in [
        ("notes.txt", b"Somebody called.", "it is no audio"),
        ("empty.wav", b"", "no bytes"),
        ("silent.wav", wav_bytes(speech(1) * 0), "silen"),
        ("cut.wav", wav_bytes(speech(1))[:9000], "it is no audio"),
    ]:
        Path(what).write_bytes(content)
        with pytest.raises(UsageError, match=said) as refused:
            look(machine, what)
        assert what in str(refused.value)


def test_a_path_that_leads_nowhere_is_refused(machine: Path) -> None:
    for what, said in [("./never.wav", "no file"), (str(machine / "never.wav"), "no file"), (str(machine), "a folder")]:
        with pytest.raises(UsageError, match=f"is {said}"):
            look(machine, what)


def test_a_recording_that_is_called_like_a_clip_is_asked_about(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is guessed; both ways to say it do as they say."""
    monkeypatch.chdir(machine)
    Path("own").write_bytes(wav_bytes(speech(3)))

    with pytest.raises(UsageError, match="is a file here, and a name in the dataset, too") as refused:
        look(machine, "own")

    assert "./own" in str(refused.value)
    assert names(seen(machine, "./own")) == [OTHER]
    (other,) = [row["ID"] for row in published_rows(machine / "out").to_pylist() if row["source_id"] == LATIN]
    assert f"called: {other}." in str(refused.value)


def test_a_dataset_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no dataset"):
        look(tmp_path, "S1")


def test_a_damaged_shard_is_told_and_the_others_are_looked_through(machine: Path) -> None:
    """Exit 6, found or not: what was looked for may be in it."""
    (path,) = (machine / "out/data/train").glob(f"{SOURCE}-*.parquet")
    path.write_bytes(path.read_bytes()[:-200])

    told, code = look(machine, CLIP)

    assert (code, f"Not looked at: data/train/{path.name}" in told) == (TargetRefused.exit_code, True)
    assert CLIP in told


def test_a_dataset_is_looked_through_without_its_books(machine: Path) -> None:
    """Without a state it may be another tool's; a damaged state, or list, is told (exit 6)."""
    what = file(machine, FORMS["opus"](speech(2)))
    removal(machine, remove_ids=listing(machine, OTHER))
    books = {name: (machine / "out/.ingest" / name).read_bytes() for name in ("state.json", "removed.json")}

    for name, content in books.items():
        (machine / "out/.ingest" / name).write_bytes(content[:-20])
        for wanted in (CLIP, what):
            told, code = look(machine, wanted)
            assert (code, CLIP in told, "Not looked at: The target's" in told) == (6, True, True), name
        (machine / "out/.ingest" / name).write_bytes(content)
    shutil.rmtree(machine / "out/.ingest")
    for wanted in (CLIP, what):
        assert (names(seen(machine, wanted)), look(machine, wanted)[1]) == ([CLIP], 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--find", " "], "--find needs what to look for"),
        (["--find", "S1", "S2"], "--find takes one thing"),
        (["--find", "S1", "--source"], "--find takes one thing"),
        (["--find", "S1", "--verify"], "commands of their own"),
        (["--find", "S1", "--fresh", "GigaSpeech2"], "a command of its own"),
        (["--find", "S1", "--deep"], "--deep belongs to --verify"),
        (["--status", "--json"], "belong to --verify or --find"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(arguments)


# --- the whole ---------------------------------------------------------------------------------


def test_what_is_told_fits_into_80_columns(machine: Path, spoken: Path) -> None:
    """But for commands, paths and the dataset's name, which are typed and read as they are."""
    for place, what, sources in [
        (machine, CLIP, ()),
        (machine, "น้ำ", ()),
        (spoken, "ann", ()),
        (spoken, "ประโยค", ()),
        (spoken, "x" * 300, (VOICES,)),
        (machine, FIRST, (FIRST,)),
    ]:
        told, _ = look(place, what, find_in=sources)
        lines = told.splitlines()
        table = [line for line in lines if not line.startswith(("  printf", "  python", "Dataset: "))]
        assert max(map(display_width, table)) <= WIDTH, what
        assert len(lines) > 4


def test_of_many_the_command_makes_the_list_from_the_json(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a line of two thousand names. As it stands there it gives each ID on a line."""
    monkeypatch.chdir(spoken)
    ids = published_ids(spoken / "out")

    told, _ = look(spoken, "ประโยคที่")

    (line,) = [line for line in told.splitlines() if "--json" in line]
    reading = shlex.split(line.partition(" | ")[2])
    assert (reading[0], reading[-2:]) == ("python", [">", "to-remove.txt"])
    listed = subprocess.run(
        [sys.executable, *reading[1:-2]],
        input=look(spoken, "ประโยคที่", as_json=True)[0],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert sorted(listed.split()) == sorted(ids)
    assert f"Found: {len(ids)} " in told


@pytest.fixture
def hub(machine: Path, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        server.add_dataset(REPO, machine / "out")
        yield server


def test_a_repo_is_looked_through_by_the_program(hub: HubServer, machine: Path) -> None:
    """Name, words and sound; exit 0, or 2 for nothing; not a commit is made."""
    head, servers = hub.head(REPO), {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}
    what = file(machine, FORMS["mp3, 48 kHz"](speech(2)), "call.mp3")

    by_sound = run(["--find", what, "--hf-repo", REPO, "--json"], machine, servers)
    by_words = run(["--find", "ok ครับ", "--source", SOURCE, "--hf-repo", REPO], machine, servers)
    nothing = run(["--find", "no-such-clip", "--hf-repo", REPO], machine, servers)

    assert (by_sound.returncode, by_words.returncode, nothing.returncode) == (0, 0, 2), by_sound.stderr
    assert names(json.loads(by_sound.stdout)) == [CLIP]
    assert LATIN in by_words.stdout
    assert "Nothing was found" in nothing.stdout
    assert hub.head(REPO) == head


def test_nothing_is_written(machine: Path, staging: Path) -> None:
    """Neither in the target nor in what is staged."""
    before = tree(machine, "out", "data")

    for what in (CLIP, "ann", "ตลาด", file(machine, wav_bytes(speech(2)))):
        look(machine, what)

    assert tree(machine, "out", "data") == before
