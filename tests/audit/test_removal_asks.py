"""What was not asked for stays, or is asked about: names that nothing has, and rows that nobody named."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.commands.remove import _source, run_removal
from pipeline.interrupts import StopRequest
from pipeline.run.factory import make_target
from pipeline.run.run import run
from tests.audit.test_removal import listing, removal
from tests.audit.test_verify import broken, checked
from tests.audit.voices import ANN, VOICES, voices_run, write_voices
from tests.dataset.hub_targets import REPO, edit_repo
from tests.hub_server import TOKEN, HubServer
from tests.known.test_dedup_near import SENTENCE, speech, wav_bytes
from tests.known.two_sources import FIRST, published, read_both, write_first, write_second
from tests.small_runs import SOURCE, small_options
from tests.support import published_ids, published_rows, tree
from utils.audit.near_names import NearNames
from utils.choices import Dedup
from utils.dataset.layout import REMOVED_PATH
from utils.dataset.state import SourceState, State
from utils.errors import TargetRefused, UsageError
from utils.known.removals import RemovedList

JINGLE = f"{FIRST}/train/0-1-2"


# --- names that nothing has ------------------------------------------------------------------


@pytest.mark.parametrize(
    "slip",
    [
        f"{VOICES}/train/train-33",
        f"{VOICES}/train/trian-3",
        f"{VOICES}/train/train-3.wav",
        f"{VOICES}/train/Train-3",
        f'"{VOICES}/train/train-3"',
        "train-3",
        "s2",
        "S999",
        f"{VOICES}/train/never-seen",
    ],
)
def test_a_name_that_nothing_has_stops_it_all(voices: Path, slip: str) -> None:
    """Else a clip would stay whose person was told that it is gone. The others that were named stay, too."""
    before = tree(voices, "out")

    with pytest.raises(UsageError, match="The dataset has nothing of 1 that you named") as refused:
        removal(voices, remove_ids=listing(voices, "S2", slip))

    assert f"  {slip}" in str(refused.value)
    assert tree(voices, "out") == before


def test_what_may_be_meant_is_said(voices: Path) -> None:
    """By a dry run as well, which goes on."""
    slips = listing(voices, "S2", f"{VOICES}/train/Train-3.wav", "validation/dev-0", "s3")

    with pytest.raises(UsageError) as refused:
        removal(voices, remove_ids=slips)
    told = " ".join(removal(voices, remove_ids=slips, dry_run=True).split())

    for slip, meant in [
        (f"{VOICES}/train/Train-3.wav", f"{VOICES}/train/train-3"),
        ("validation/dev-0", f"{VOICES}/validation/dev-0"),
        ("s3", "S3"),
    ]:
        assert f"{slip} (did you mean {meant}?)" in str(refused.value)
        assert f"{slip} (did you mean {meant}?)" in told
    assert "Rows that go: 1 " in told


def test_all_that_was_not_found_is_in_a_file_where_it_is_much(voices: Path) -> None:
    listed = listing(voices, *(f"{VOICES}/train/gone-{number}" for number in range(100, 150)))

    with pytest.raises(UsageError, match="nothing of 50 that you named") as refused:
        removal(voices, remove_ids=listed)

    assert len(str(refused.value).splitlines()) < 15
    (file,) = voices.glob("withdrawn.txt.not-found")
    assert str(file) in str(refused.value)
    assert [line.split(" ")[0] for line in file.read_text().splitlines()] == [
        f"{VOICES}/train/gone-{number}" for number in range(100, 150)
    ]


def test_a_clip_may_be_listed_before_it_is_read(voices: Path) -> None:
    """Asked for; then what the dataset has of the rest goes, and the name is on the list."""
    name = f"{VOICES}/train/never-seen"

    removal(voices, remove_ids=listing(voices, "S2", name), allow_missing=True)

    assert "S2" not in published_ids(voices / "out")
    listed = RemovedList.from_json((voices / "out" / REMOVED_PATH).read_bytes())
    assert listed.means(name, None)
    assert removal(voices, remove_ids=listing(voices, "S2", name))  # it is known now


def test_a_clip_that_is_a_reject_is_one_that_the_dataset_has(voices: Path) -> None:
    """Whatever it was refused for."""
    write_first(voices, train=[("0-1-2", wav_bytes(speech(2)), SENTENCE), ("0-1-3", wav_bytes(speech(2) * 0), "บ้าน")])
    read_both(voices, sources=(FIRST,), fresh=False)
    assert published(voices)["train"].count(f"{FIRST}/train/0-1-3") == 0

    assert "Done" in removal(voices, remove_ids=listing(voices, f"{FIRST}/train/0-1-3"))


def test_what_cannot_be_seen_around_a_name_is_left_out(
    voices: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it comes from tables and web pages: no other clip can be meant."""
    path = voices / "withdrawn.txt"
    path.write_text("\u00a0S2\u00ad\r\n\u200bS3\u0085\nS4\u2060\u3000\n\u200b\n")

    removal(voices, remove_ids=path)

    assert not {"S2", "S3", "S4"} & set(published_ids(voices / "out"))
    assert "invisible characters around the name S2" in caplog.text


def test_names_are_near_by_a_slip_and_not_by_chance() -> None:
    """One character, case, quotes, an ending, a part left out in front: no more, and short names not at all."""
    names = ["Corpus/train/abc-123", "Corpus/test/xyz", "S12", "S13"]
    for slip in (
        "Corpus/train/abc-124",
        "corpus/TRAIN/abc-123.MP3",
        "`Corpus/train/abc-12`",
        "train/abc-123",
        "abc-123",
    ):
        near = NearNames([slip])
        near.look_at(names)
        assert near.found == {slip: "Corpus/train/abc-123"}, slip
    for other in ("S14", "Corpus/train/abc-9", "", "c-123", "s"):
        near = NearNames([other])
        near.look_at(names)
        assert near.found == {}, other


# --- rows that nobody named ------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A dataset of a jingle that two sources have, with other words around it, and of a clip that is only one's."""
    write_first(tmp_path, train=[("0-1-2", wav_bytes(speech(2)), SENTENCE), ("0-1-3", wav_bytes(speech(3)), "บ้าน")])
    write_second(tmp_path, train=[("jingle", wav_bytes(speech(2)), "ทะเล"), ("own", wav_bytes(speech(4)), "น้ำ")])
    read_both(tmp_path, dedup=Dedup.OFF)
    return tmp_path


def test_a_row_of_the_same_recording_stays_and_is_told(shared: Path) -> None:
    """With whose it is and what is said in it; by a dry run, too. Its source may bring it again."""
    (other,) = [
        row for row in published_rows(shared / "out").to_pylist() if row["source_id"] == f"{SOURCE}/train/jingle"
    ]

    dry = removal(shared, remove_ids=listing(shared, JINGLE), dry_run=True)
    told = removal(shared, remove_ids=listing(shared, JINGLE))

    for text in (dry, told):
        assert "Rows that go: 1 " in text
        assert "that nobody named: 1." in text
        assert "--with-copies" in text
        assert f"  {other['ID']}: {SOURCE}/train/jingle: ทะเล" in text
    assert [name for split in published(shared).values() for name in split] == [
        f"{FIRST}/train/0-1-3",
        f"{SOURCE}/train/jingle",
        f"{SOURCE}/train/own",
    ]
    assert broken(checked(shared / "out", deep=True)) == {}
    read_both(shared, dedup=Dedup.OFF)  # anew, with --fresh
    assert [name for split in published(shared).values() for name in split] == [
        f"{FIRST}/train/0-1-3",
        f"{SOURCE}/train/jingle",
        f"{SOURCE}/train/own",
    ]


def test_it_goes_where_that_is_asked_for(shared: Path) -> None:
    """And does not come back, under whatever name."""
    told = removal(shared, remove_ids=listing(shared, JINGLE), with_copies=True)

    assert "Rows that go: 2 " in told
    assert "nobody named" not in told
    read_both(shared, dedup=Dedup.OFF)
    assert [name for split in published(shared).values() for name in split] == [
        f"{FIRST}/train/0-1-3",
        f"{SOURCE}/train/own",
    ]


def test_a_speakers_recording_that_another_has_is_not_kept_away_from_the_other(voices: Path) -> None:
    """Two people read out the same announcement from a tape: one withdraws."""
    clips = voices / "mirrors/common_voice/cv-corpus-25.0-2026-03-09/th/clips"
    (clips / "train-2.mp3").write_bytes((clips / "train-0.mp3").read_bytes())
    voices_run(voices, dedup=Dedup.OFF)

    told = removal(voices, remove_speakers=(ANN,))

    assert "that nobody named: 1." in told
    names = [row["source_id"] for row in published_rows(voices / "out").to_pylist()]
    assert f"{VOICES}/train/train-2" in names
    assert f"{VOICES}/train/train-0" not in names
    assert broken(checked(voices / "out", deep=True)) == {}


@pytest.fixture
def backed_up(tmp_path: Path) -> Path:
    """A copy of a dataset, before a speaker and with her a whole shard went."""
    write_voices(tmp_path / "mirrors", {"test": "bb", "dev": "ab", "train": "aaabbb"})
    voices_run(tmp_path)
    shutil.copytree(tmp_path / "out", tmp_path / "backup")
    removal(tmp_path, remove_speakers=(ANN,))
    return tmp_path


def put_back_what_is_missing(machine: Path) -> list[str]:
    """As `cp --no-clobber` and `rsync --ignore-existing` do."""
    there = list((machine / "backup/data").rglob("*.parquet"))
    missing = [path for path in there if not (machine / "out" / path.relative_to(machine / "backup")).exists()]
    for path in missing:
        shutil.copy(path, machine / "out" / path.relative_to(machine / "backup"))
    return [path.relative_to(machine / "backup").as_posix() for path in missing]


def test_a_shard_that_went_and_was_put_back_is_set_aside(backed_up: Path) -> None:
    """The ledger names it no more: neither a removal nor a run leaves it among the data."""
    back = put_back_what_is_missing(backed_up)
    assert back

    removal(backed_up, remove_speakers=(ANN,))

    assert [path for path in back if (backed_up / "out" / path).exists()] == []
    assert broken(checked(backed_up / "out", deep=True)) == {}
    put_back_what_is_missing(backed_up)
    voices_run(backed_up, fresh=False)
    assert broken(checked(backed_up / "out", deep=True)) == {}


def test_a_removal_does_not_say_done_beside_files_of_others_in_a_repo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of a shard that somebody uploaded has the clip, and is among what readers of the dataset get."""
    with HubServer(tmp_path / "hub", tokens={TOKEN: "me"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        write_voices(tmp_path / "mirrors")
        options, stop = small_options(tmp_path, sources=(VOICES,), hf_repo=REPO, private=True), StopRequest()
        run(options, make_target(options, TOKEN, stop), TOKEN, stop)
        shard = next(path for path in server.files(REPO) if path.startswith("data/train/"))
        edit_repo(server, tmp_path, {"data/train/copy.parquet": server.read(REPO, shard)})
        before = server.head(REPO)

        with pytest.raises(TargetRefused, match=r"data/train/copy\.parquet.*Nothing was changed"):
            wanted = replace(options, remove_speakers=(ANN,), private=False)
            run_removal(wanted, make_target(wanted, TOKEN, stop), stop)

        assert server.head(REPO) == before


SOURCES = ("Rec", "REC")


def test_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    """One dataset takes no second one; of an older one that has both, a name means the very one."""
    state = State("g", 16_000, sources={name: SourceState("r", {}, {}, {}) for name in (*SOURCES, "Other")})

    assert [_source(name, state) for name in (*SOURCES, "other")] == ["Rec", "REC", "Other"]
    with pytest.raises(UsageError, match="Rec or REC"):
        _source("rec", state)
