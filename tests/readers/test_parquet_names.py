"""What a Parquet row is called that has no id: by its path and its content, which stay when rows move."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.options import Options
from pipeline.run.run import RunResult
from pipeline.run.source_run import fingerprint
from processors.configured.parquet_source import ParquetSource
from processors.readers.parquet import RowNaming, read_parquet
from processors.readers.spec import Columns
from tests.audit.test_verify import broken
from tests.kills import Killed, KilledAt
from tests.processors.test_own_sources import load, source
from tests.small_runs import StopAfter, small_run, watching
from tests.support import published_rows, tone
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.disk.durable import Effect
from utils.errors import SourceError
from utils.rows.schema import AUDIO_TYPE, START
from utils.sources.source_files import MirrorFiles, SourceChanged

PATHS = {
    "no paths": "",
    "one path for all": "audio.wav",
    "a path each": "{}.wav",
    "the same path in other folders": "{}/audio.wav",
}


@pytest.fixture(params=PATHS.values(), ids=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    """What the audio's path is, with the number of the clip in it."""
    kind: str = request.param
    return kind


def write(machine: Path, numbers: Sequence[int], path: str) -> None:
    """The corpus: a row for each number."""
    rows = [
        {"audio": {"bytes": tone(number), "path": path.format(number) or None}, "text": f"ประโยคที่ {number}"}
        for number in numbers
    ]
    file = machine / "corpus/train.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([("audio", AUDIO_TYPE), ("text", pa.string())])), file)


def read(machine: Path, stop: StopAfter | None = None, **options: Any) -> RunResult:
    """A run of the corpus."""
    own = load(machine, source(str(machine / "corpus"), "columns: {transcript: text}", reader="parquet"))
    return small_run(machine, stop, **{"sources": ("MyCorpus",), "own_sources": own, "source_dir": None, **options})


def transcripts(machine: Path) -> list[str]:
    return published_rows(machine / "out")["transcript"].to_pylist()


def test_a_row_that_is_new_is_read_wherever_it_stands(tmp_path: Path, path: str) -> None:
    """A newer revision puts it first: it is no known one, and those that moved are not read again."""
    write(tmp_path, [1, 3, 4], path)
    read(tmp_path)
    write(tmp_path, [5, 4, 3, 1], path)

    result = read(tmp_path, fresh=False)

    assert transcripts(tmp_path) == [f"ประโยคที่ {number}" for number in (1, 3, 4, 5)]
    books = result.state.split("MyCorpus", "train").progress
    assert (books.read, books.kept, books.known) == (4, 1, 3)
    assert broken(verify(LocalTarget(tmp_path / "out"), tmp_path / "scratch")) == {}


def test_a_run_that_is_stopped_goes_on_under_the_same_names(tmp_path: Path, path: str) -> None:
    """Whatever was staged or published then."""
    write(tmp_path, range(40, 52), path)
    stopped = read(tmp_path, StopAfter(5))
    assert stopped.interrupted

    read(tmp_path, resume=True)

    names = published_rows(tmp_path / "out")["source_id"].to_pylist()
    assert len(names) == len(set(names)) == len(transcripts(tmp_path)) == 12


def test_a_mirror_that_changes_again_while_a_newer_revision_is_only_staged(tmp_path: Path, path: str) -> None:
    """A resume reads what is there now, as it does in the first revision: a folder keeps no old ones."""
    write(tmp_path, [1, 3, 4], path)
    read(tmp_path)
    write(tmp_path, [1, 3, 4, 5, 6], path)
    with watching(DiesAtItsFirstCommit()), suppress(Killed):
        read(tmp_path, fresh=False)
    write(tmp_path, [1, 3, 4, 5, 6, 8], path)

    read(tmp_path, resume=True)

    assert sorted(transcripts(tmp_path)) == [f"ประโยคที่ {number}" for number in (1, 3, 4, 5, 6, 8)]
    assert broken(verify(LocalTarget(tmp_path / "out"), tmp_path / "scratch")) == {}


class DiesAtItsFirstCommit(KilledAt):
    """Dies before the state is written."""

    def __init__(self) -> None:
        super().__init__(0)

    def before(self, effect: Effect) -> None:
        if self.died or effect.path.name == "state.json":
            self.die_if_due()

    def die_if_due(self) -> None:
        self.died = True
        raise Killed


def test_a_source_that_was_begun_by_the_old_rule_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is part of what it was begun with: names never change in the middle."""
    write(tmp_path, range(40, 52), "")
    monkeypatch.setattr(ParquetSource, "newest_naming", 1)
    assert read(tmp_path, StopAfter(5)).interrupted
    monkeypatch.undo()

    read(tmp_path, resume=True)

    names = published_rows(tmp_path / "out")["source_id"].to_pylist()
    assert names == [f"MyCorpus/train/train-{row}" for row in range(12)]


def test_rows_that_were_named_by_their_places_are_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer revision of a source that was begun by the old rule is refused; nothing is changed."""
    write(tmp_path, [1, 3, 4], "audio.wav")
    monkeypatch.setattr(ParquetSource, "newest_naming", 1)
    read(tmp_path)
    monkeypatch.undo()
    write(tmp_path, [5, 4, 3, 1], "audio.wav")

    with pytest.raises(SourceError, match="may have moved.*--fresh") as refused:
        read(tmp_path, fresh=False)

    assert refused.value.exit_code == SourceChanged.exit_code
    assert transcripts(tmp_path) == [f"ประโยคที่ {number}" for number in (1, 3, 4)]


def test_a_row_without_audio_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the old rule it has a place for a name, but nothing is published under it."""
    write(tmp_path, [1, 3, 4], "{}.wav")
    file = tmp_path / "corpus/train.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[1]["audio"] = None
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(file)), file)
    monkeypatch.setattr(ParquetSource, "newest_naming", 1)
    read(tmp_path)
    monkeypatch.undo()
    pq.write_table(pa.Table.from_pylist(rows[::-1], schema=pq.read_schema(file)), file)

    read(tmp_path, fresh=False)

    assert transcripts(tmp_path) == [f"ประโยคที่ {number}" for number in (1, 4)]


def test_rows_that_were_named_by_their_paths_are_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those names stay, whatever rule gave them."""
    write(tmp_path, [1, 3, 4], "{}.wav")
    monkeypatch.setattr(ParquetSource, "newest_naming", 1)
    read(tmp_path)
    monkeypatch.undo()
    write(tmp_path, [5, 4, 3, 1], "{}.wav")

    read(tmp_path, fresh=False)

    assert published_rows(tmp_path / "out")["source_id"].to_pylist() == [f"MyCorpus/train/{n}" for n in (1, 3, 4, 5)]


def test_the_rule_stands_in_the_fingerprint(tmp_path: Path) -> None:
    """What has none was begun by the first one."""
    options = Options()

    assert "source_ids" not in fingerprint(options, "ProcessedVoiceTH")
    assert fingerprint(options, "FLEURS", naming=2) == {**fingerprint(options, "FLEURS"), "source_ids": 2}


def test_names_by_content(tmp_path: Path) -> None:
    """The path's stem and a digest; of audio that is missing the place, which nothing is published under."""
    write(tmp_path, [1, 1, 3], "folder/{}.wav")
    files = MirrorFiles(tmp_path / "corpus")

    first, again, third = read_parquet(files, ["train.parquet"], Columns(), dict(START), RowNaming(by_content=True))

    assert first.key == again.key != third.key
    assert first.key.startswith("1-") and len(first.key) == 2 + 32
    table = pq.read_table(tmp_path / "corpus/train.parquet")
    empty = pa.array([{"bytes": None, "path": "a.wav"}] * 3, table.schema.field("audio").type)
    pq.write_table(table.set_column(0, table.schema.field(0), empty), tmp_path / "corpus/train.parquet")
    files = MirrorFiles(tmp_path / "corpus")
    clips = read_parquet(files, ["train.parquet"], Columns(), dict(START), RowNaming(by_content=True))
    assert [clip.key for clip in clips] == ["train-0", "train-1", "train-2"]
    assert replace(RowNaming(), by_content=True) != RowNaming()
