"""Append-only files of JSON lines: what was appended stays, a torn end is set aside, damage is refused."""

import errno
import fcntl
import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.apify.journal import DamagedJournal, Journal, last_line_start, line_of, read_lines
from tests.kills import Killed, KilledAt, write_half
from tests.small_runs import Failing, Seen, watching
from utils.disk.durable import Effect
from utils.errors import Stopped, TargetRefused

RECORDS = [{"number": number, "text": f"ประโยคที่ {number}"} for number in range(5)]


def records_in(path: Path) -> list[dict[str, Any]]:
    return [line.record for line in read_lines(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "raw/items.jsonl"


def write(path: Path, records: list[dict[str, Any]] = RECORDS) -> bytes:
    with Journal(path) as journal:
        journal.append(records)
    return path.read_bytes()


def test_what_is_appended_is_read_back_in_order(path: Path) -> None:
    """In whatever batches; each line says where it starts and ends."""
    with Journal(path) as journal:
        journal.append(RECORDS[:2])
        middle = journal.append(RECORDS[2:3])
        end = journal.append(iter(RECORDS[3:]))

    lines = list(read_lines(path))
    assert [line.record for line in lines] == RECORDS
    assert [line.end for line in lines] == [*[line.start for line in lines[1:]], end]
    assert [line.record for line in read_lines(path, middle)] == RECORDS[3:]
    assert [line.record for line in read_lines(path, 0, middle)] == RECORDS[:3]
    assert path.stat().st_size == end


def test_lines_are_utf8_for_people(path: Path) -> None:
    """Thai is written as Thai."""
    assert "ประโยคที่ 3".encode() in write(path)


def test_batch_is_flushed_once_and_a_new_file_into_its_folder(path: Path, tmp_path: Path) -> None:
    """What `append` has returned from survives a power cut."""
    with watching(Seen(tmp_path)) as seen:
        write(path)

    name = "raw/items.jsonl"
    assert seen.steps == [
        *("mkdir raw", "fsync .", f"create {name}", "fsync raw"),
        *(f"write {name}", f"fsync {name}"),
    ]


def test_appending_nothing_touches_nothing(path: Path, tmp_path: Path) -> None:
    """No empty write, no fsync."""
    write(path)

    with Journal(path) as journal, watching(Seen(tmp_path)) as seen:
        assert journal.append([]) == path.stat().st_size

    assert seen.steps == []


def test_opening_again_goes_on_at_the_end(path: Path) -> None:
    """Nothing that was there is written again."""
    before = write(path)

    after = write(path, [{"more": True}])

    assert after == before + line_of({"more": True})


def test_every_cut_of_the_last_line_is_set_aside(path: Path) -> None:
    """Wherever a crash tore it: the lines before it stay, the rest lies beside the file, and appending goes on."""
    whole = write(path)
    start = last_line_start(path, len(whole))
    for cut in range(start + 1, len(whole)):
        path.write_bytes(whole[:cut])

        with Journal(path) as journal:
            aside = journal.torn
            journal.append([{"next": cut}])

        assert aside is not None
        assert aside.read_bytes() == whole[start:cut]
        assert records_in(path) == [*RECORDS[:-1], {"next": cut}]
        aside.unlink()


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\0\0\n", b"[1]\n", b"12\n", b"\n", b"{}", b"\xff\xfe\n"])
def test_last_line_that_is_no_object_is_torn_too(path: Path, garbage: bytes) -> None:
    """A power cut may leave zeros, or a part that happens to be JSON."""
    whole = write(path)
    path.write_bytes(whole + garbage)

    assert records_in(path) == RECORDS
    with Journal(path) as journal:
        assert journal.torn is not None and journal.torn.read_bytes() == garbage
    assert path.read_bytes() == whole


def test_torn_lines_do_not_replace_each_other(path: Path) -> None:
    """`.torn-1`, `.torn-2`: each may be somebody's last trace of a record."""
    whole = write(path)
    names = []
    for tail in (b"{a", b"{b"):
        path.write_bytes(whole + tail)
        with Journal(path) as journal:
            assert journal.torn is not None
            names.append(journal.torn.name)

    assert names == ["items.jsonl.torn-1", "items.jsonl.torn-2"]
    assert [path.with_name(name).read_bytes() for name in names] == [b"{a", b"{b"]


def test_long_torn_line_is_found(path: Path) -> None:
    """A line may be longer than what is read back at once."""
    whole = write(path)
    path.write_bytes(whole + b'{"long": "' + b"x" * 200_000)

    with Journal(path) as journal:
        assert journal.torn is not None

    assert path.read_bytes() == whole


@pytest.mark.parametrize("spoil", [b"\0\0\0\n", b"{\n", b"\n", b'"text"\n'])
def test_damage_inside_is_refused(path: Path, spoil: bytes) -> None:
    """Such a line was durable once: it is never passed over, and the message says where it is and what to type."""
    lines = [line_of(record) for record in RECORDS]
    path.parent.mkdir()
    path.write_bytes(b"".join([*lines[:2], spoil, *lines[3:]]))

    read = read_lines(path)
    assert [next(read).record for _ in range(2)] == RECORDS[:2]
    with pytest.raises(DamagedJournal, match=rf"byte {len(lines[0] + lines[1]):,}.*truncate -s"):
        next(read)


def test_reader_sees_whole_lines_only(path: Path) -> None:
    """One that looks while a line is being written; and no file is no lines."""
    assert records_in(path) == []
    whole = write(path)
    path.write_bytes(whole[:-1])

    assert records_in(path) == RECORDS[:-1]
    assert path.read_bytes() == whole[:-1]


def test_second_writer_is_refused(path: Path) -> None:
    """Two that append would take each other's half-written lines for torn ones."""
    with Journal(path) as journal:
        with pytest.raises(TargetRefused, match="Another process"):
            Journal(path)
        journal.append(RECORDS)

    assert records_in(path) == RECORDS
    write(path)  # the lock went with the first one


def test_file_system_without_locks_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a second writer could not be kept out."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(TargetRefused, match="local disk"):
        Journal(path)


@pytest.mark.parametrize("kind", ["write", "fsync"])
def test_failed_append_leaves_the_file_as_it_was(path: Path, kind: str) -> None:
    """A full disk: nothing of the batch counts, and this writer takes no more, as it can't know what is durable."""
    before = write(path)
    with Journal(path) as journal:
        with watching(Once(kind, path)), pytest.raises(OSError, match="No space"):
            journal.append([{"lost": 1}])
        with pytest.raises(Stopped, match="--resume"):
            journal.append([{"lost": 2}])

    assert path.read_bytes() == before


def test_half_written_batch_is_cut_off_again(path: Path) -> None:
    """The disk took a part of it before it was full."""
    before = write(path)
    with Journal(path) as journal, watching(Once("write", path, half=True)), pytest.raises(OSError, match="No space"):
        journal.append([{"lost": 1}])

    assert path.read_bytes() == before


def test_file_that_can_not_be_cut_is_mended_by_the_next(path: Path) -> None:
    """The disk fails altogether, in the middle of a line."""
    before = write(path)
    with (
        Journal(path) as journal,
        watching(Once("write", path, half=True)),
        watching(Failing("truncate", path.name)),
        pytest.raises(OSError, match="Input/output error"),
    ):
        journal.append([{"lost": 1}])
    assert path.read_bytes() != before

    with Journal(path) as journal:
        assert journal.torn is not None
    assert path.read_bytes() == before


class Once:
    """The first step of a kind on a path fails for lack of space, perhaps having written half."""

    def __init__(self, kind: str, path: Path, half: bool = False) -> None:
        self._kind, self._path, self._half = kind, path, half
        self._done = False

    def before(self, effect: Effect) -> None:
        if self._done or effect.kind != self._kind or effect.path != self._path:
            return
        self._done = True
        if self._half and effect.data is not None:
            write_half(effect)
        raise OSError(28, "No space left on device", str(effect.path))

    def after(self, effect: Effect) -> None:
        """It happened."""


@pytest.mark.parametrize("half", [False, True])
def test_kill_at_every_step_loses_nothing_that_was_appended(tmp_path: Path, half: bool) -> None:
    """A writer that goes on from what is there, on a file whose end is torn: each record once, and it only grew."""
    kill, died = 0, True
    while died:
        path = tmp_path / f"{kill}/items.jsonl"
        path.parent.mkdir()
        path.write_bytes(line_of(RECORDS[0]) + b'{"number": 1, "te')
        acknowledged = [1]

        with watching(KilledAt(kill, half)) as killed, suppress(Killed):
            write_all(path, acknowledged)
        there = records_in(path)
        write_all(path, [])

        assert len(there) >= acknowledged[-1]
        assert records_in(path) == RECORDS
        kill, died = kill + 1, killed.died
    assert kill > 10


def write_all(path: Path, acknowledged: list[int]) -> None:
    with Journal(path) as journal:
        while (done := len(records_in(path))) < len(RECORDS):
            batch = RECORDS[done : done + 2]
            journal.append(batch)
            acknowledged.append(done + len(batch))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_any_record_is_one_line(record: dict[str, Any]) -> None:
    """Whatever characters it has, half surrogate pairs included, it comes back the same."""
    line = line_of(record)

    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert json.loads(line) == record


def test_half_a_surrogate_pair_is_kept(path: Path) -> None:
    """Sites send them, and a paid record must not be lost to its spelling."""
    write(path, [{"text": "ก\ud83d"}])

    assert records_in(path) == [{"text": "ก\ud83d"}]


def test_start_of_the_last_line_in_files_of_any_shape(tmp_path: Path) -> None:
    """Against a plain search, in files of random lines."""
    random = Random(7)
    path = tmp_path / "lines"
    for _ in range(200):
        content = b"".join(random.choice([b"\n", b"a", b"bb"]) for _ in range(random.randrange(6)))
        path.write_bytes(content)

        expected = content[:-1].rfind(b"\n") + 1

        assert last_line_start(path, len(content)) == expected
