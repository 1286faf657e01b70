"""What may go and what never does: by order and by age, on any clock, and never through a link."""

import errno
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commands.prune import prune_quietly, run_prune
from pipeline.options import Options
from tests.runs import run
from tests.support import tree
from utils.disk.durable import Effect, unwatch, watch
from utils.disk.retention import DAY_S, KEPT_DAYS, KEPT_LAST, RetainedEntry, delete, superseded

YEAR_S = 365 * DAY_S
SEGMENT = "Corpus-train-000000000000-000000000010-0123456789abcdef.arrow"
PART = "data/train/Corpus-00003.parquet"


# --- the history, by the stamps in its names -------------------------------------------------


def written(per_day: int, days: int, start_day: int = 10_000) -> list[tuple[int, int]]:
    """Stamps of checkpoints, each with the stamp as its item."""
    stamps = [day * DAY_S + 1000 * (at + 1) for day in range(start_day, start_day + days) for at in range(per_day)]
    return [(stamp, stamp) for stamp in stamps]


def test_last_twenty_and_one_a_day_for_thirty_days_stay() -> None:
    """Of each of the last 30 days it is the last one that stays."""
    stamps = written(per_day=3, days=100)
    now = stamps[-1][0] + 1

    kept = [item for _, item in stamps if item not in superseded(stamps, now)]

    last, days_last = [item for _, item in stamps[-KEPT_LAST:]], [item for _, item in stamps[2::3]]
    assert kept == sorted({*last, *days_last[-KEPT_DAYS:]})
    assert len(kept) == 43


def test_short_history_stays_however_old() -> None:
    """Twenty of ten years ago are the last twenty."""
    assert superseded(written(per_day=1, days=KEPT_LAST), 20_000 * DAY_S) == []


def test_clock_that_jumped_forward_leaves_the_last_twenty() -> None:
    """A year, or a century."""
    stamps = written(per_day=3, days=100)

    for ahead in (YEAR_S, 100 * YEAR_S):
        gone = superseded(stamps, stamps[-1][0] + ahead)
        assert gone == [item for _, item in stamps[:-KEPT_LAST]]


def test_clock_that_jumped_back_makes_nothing_old() -> None:
    """What seems to come from the future is no reason to delete the last one of its day."""
    stamps = written(per_day=3, days=100)

    for now in (0, stamps[0][0], stamps[-1][0] - YEAR_S):
        assert not {item for _, item in stamps[2::3]} & set(superseded(stamps, now))


@given(stamps=st.lists(st.integers(0, 2**40), max_size=80), now=st.integers(0, 2**41))
def test_order_alone_decides_on_the_last_twenty(stamps: list[int], now: int) -> None:
    """Whatever the stamps and the clock say, also stamps that go up and down."""
    gone = set(superseded([(stamp, at) for at, stamp in enumerate(stamps)], now))

    assert not gone & set(range(len(stamps) - KEPT_LAST, len(stamps)))
    young = {stamp // DAY_S for stamp in stamps if now - stamp <= KEPT_DAYS * DAY_S}
    assert young <= {stamps[at] // DAY_S for at in set(range(len(stamps))) - gone}


# --- a working folder ------------------------------------------------------------------------


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """A working folder in which runs left some of everything."""
    found = Options(
        output=tmp_path / "data/out",
        checkpoint_dir=tmp_path / "checkpoints",
        data_dir=tmp_path / "data",
        log_dir=tmp_path / "logs",
    )
    for name in (*DUE, *NEVER):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for number in range(KEPT_LAST):
        (found.log_dir / f"run-20200101-0000{number:02}-{number}.log").write_text("a run")
    return found


DUE = (
    "checkpoints/archive/before-fresh-20200101-000000/Corpus_unified_checkpoint.json",
    "checkpoints/Corpus_unified_checkpoint.json.0123abcd-123.tmp",
    "data/staging/archive/before-fresh-20200101-000000/local-out/Corpus/train/000-010-abc.arrow",
    f"data/staging/local-out/set-aside/{SEGMENT}",
    f"data/staging/hub-me_voice/set-aside/{SEGMENT}-2",
    f"data/out.set-aside/{PART}",
    f"data/out/.set-aside/{PART}",
    f"data/out.set-aside/{PART}.0123abcd-123.tmp-2",
)
NEVER = (
    "checkpoints/Corpus_unified_checkpoint.json",
    "checkpoints/Corpus_1.json",
    "checkpoints/me_voice_train_upload_checkpoint.json",
    "checkpoints/archive/my-own-notes/x.json",
    "data/staging/archive/keep.txt",
    "data/staging/local-out/Corpus/train/000-010-abc.arrow",
    "data/staging/local-out/Corpus/train/segment.tmp",
    "data/staging/local-out/set-aside/notes.txt",
    "data/staging/local-out/lock",
    "data/out/data/train/Corpus-00000.parquet",
    "data/out/.ingest/state.json",
    "data/out.set-aside/data/train/my-recordings.txt",
    "data/out.before-fresh-20200101-000000/data/train/Corpus-00000.parquet",
    "data/out.before-repair-20200101-000000-2/README.md",
    "data/out/.before-repair-20200101-000000/README.md",
    "data/cache/me/voice/abc/file.parquet",
    "logs/notes.txt",
)


def old_enough() -> float:
    """A moment at which all that is there now is past its days: only the system sets when a file came to its place."""
    return time.time() + (KEPT_DAYS + 1) * DAY_S


def test_what_is_old_goes_and_all_else_stays(options: Options, tmp_path: Path) -> None:
    """Archives, set-aside files and half-written ones go; what is staged, published, put away or the user's stays."""
    told = run_prune(options, old_enough())

    left = {name for name in (*DUE, *NEVER) if (tmp_path / name).exists()}
    assert left == set(NEVER)
    assert f"Deleted these {len(DUE)}," in told


def test_dry_run_tells_the_same_and_changes_nothing(options: Options, tmp_path: Path) -> None:
    """Each entry is named, an archive as a whole."""
    before = tree(tmp_path, "checkpoints", "data", "logs")
    dry = Options(**{**vars(options), "dry_run": True})

    told = run_prune(dry, old_enough())

    assert tree(tmp_path, "checkpoints", "data", "logs") == before
    assert "Nothing was changed" in told
    for name in DUE:
        path = tmp_path / name
        shown = next((above for above in path.parents if above.name.startswith("before-fresh-")), path)
        assert f"  {shown}  (" in told


def test_put_away_datasets_are_shown_and_never_deleted(options: Options, tmp_path: Path) -> None:
    """They are the user's own, whatever their age."""
    told = run_prune(options, old_enough() + 100 * YEAR_S)

    in_it = "out/.before-repair-20200101-000000"
    for name in ("out.before-fresh-20200101-000000", "out.before-repair-20200101-000000-2", in_it):
        assert f"{tmp_path}/data/{name}  (" in told.partition("They are yours")[2]
        assert (tmp_path / "data" / name).is_dir()


@pytest.mark.parametrize("now_s", [None, 0.0, time.time() - 10 * YEAR_S], ids=["now", "1970", "ten years back"])
def test_young_and_future_entries_stay(options: Options, tmp_path: Path, now_s: float | None) -> None:
    """Set aside a moment ago, or in what a wrong clock calls the future: not old, though their bytes are."""
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))

    told = run_prune(options, now_s)

    assert all((tmp_path / name).exists() for name in (*DUE, *NEVER))
    assert "nothing to delete" in told


def test_twenty_logs_stay_whatever_their_age(options: Options) -> None:
    """A clock that jumped forward leaves something to look into."""
    for number in range(3):
        (options.log_dir / f"run-20210101-00000{number}-{number}.log").write_text("a run")

    run_prune(options, old_enough() + YEAR_S)

    assert len(list(options.log_dir.glob("run-*.log"))) == KEPT_LAST


def test_links_are_never_followed(options: Options, tmp_path: Path) -> None:
    """A link in an archive goes, what it points to stays; a link in the place of a folder or an entry is not ours."""
    outside = tmp_path / "outside"
    (outside / "before-fresh-20200101-000000").mkdir(parents=True)
    (outside / "before-fresh-20200101-000000/precious.txt").write_text("precious")
    (outside / SEGMENT).write_text("precious")
    archive = tmp_path / "checkpoints/archive/before-fresh-20200101-000000"
    (archive / "link").symlink_to(outside)
    (tmp_path / "data/staging/hub-other").mkdir()
    (tmp_path / "data/staging/hub-other/set-aside").symlink_to(outside)
    (archive.parent / "before-fresh-20200202-000000").symlink_to(outside / "before-fresh-20200101-000000")
    before = tree(tmp_path, "outside")

    run_prune(options, old_enough())

    assert not archive.exists()
    assert tree(tmp_path, "outside") == before
    assert (archive.parent / "before-fresh-20200202-000000").is_symlink()


def test_what_another_run_deletes_meanwhile_is_no_failure(options: Options, tmp_path: Path) -> None:
    """Two runs with different targets prune the same folders."""
    assert delete([RetainedEntry(tmp_path / "gone.parquet", "a file", 0.0, 10)]) == 0


class FailingDisk:
    """Deletes nothing."""

    def before(self, effect: Effect) -> None:
        if effect.kind == "delete":
            raise OSError(errno.EIO, "the disk is failing")

    def after(self, effect: Effect) -> None:
        """Nothing to do."""


def test_what_cannot_be_deleted_does_not_fail_a_run(options: Options, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, as a warning: the run itself is done."""
    disk = FailingDisk()
    watch(disk)
    try:
        prune_quietly(options, old_enough())
    finally:
        unwatch(disk)

    assert "could not be deleted" in caplog.text


def test_run_prunes_at_its_end_in_one_line(tmp_path: Path) -> None:
    """Quietly: one line in the log; nothing about it where there was nothing to do. By hand it is a command."""
    (tmp_path / "checkpoints").mkdir()
    for stamp in range(30):
        (tmp_path / f"checkpoints/Other_{stamp}.json").write_text("{}")
    few = ["ProcessedVoiceTH", "--demo", "--sample", "--sample-size", "3"]

    first, second = run(["--fresh", *few], tmp_path), run(["--append", *few], tmp_path)
    by_hand = run(["--prune", "--dry-run"], tmp_path)

    assert (first.returncode, second.returncode, by_hand.returncode) == (0, 0, 0), first.stderr + by_hand.stderr
    assert first.stderr.count("pruned 10 old files") == 1
    assert "pruned" not in second.stderr
    assert len(list(tmp_path.glob("checkpoints/Other_*.json"))) == KEPT_LAST
    assert "nothing to delete" in by_hand.stdout
