"""Small runs in this process: a mirror of a few clips, read into a folder or a repo; and what they do to the disk."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.run.factory import make_target
from pipeline.run.run import RunResult, run
from processors import describe
from tests.support import tone
from utils.disk.durable import Effect, unwatch, watch
from utils.rows.schema import AUDIO_TYPE

SOURCE = "ProcessedVoiceTH"
CLIPS = {"train": range(8), "validation": range(20, 23), "test": range(30, 34)}
"""Split -> the numbers of its clips. Where one ends in 2 it is silent, in 7 it has another's name: rejects."""
KEPT = 11
"""Of those."""


def write_mirror(folder: Path, clips: Mapping[str, Iterable[int]] = CLIPS) -> Path:
    """A mirror of `SOURCE`; returns `folder`."""
    schema = pa.schema([("audio", AUDIO_TYPE), ("sentence", pa.string())])
    for split, numbers in clips.items():
        path = folder / describe(SOURCE).mirror / f"data/{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"audio": _audio(number), "sentence": f"ประโยคที่ {number}"} for number in numbers]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return folder


def _audio(number: int) -> dict[str, Any]:
    content = tone(number)
    if number % 10 == 2:
        content = content[:44] + bytes(len(content) - 44)
    return {"bytes": content, "path": f"clip_{number - 6 if number % 10 == 7 else number}.wav"}


def small_options(machine: Path, **options: Any) -> Options:
    """A run of `SOURCE` on one machine: shards of three rows, a checkpoint every two clips."""
    kept = {"output": machine / "out", "checkpoint_dir": machine / "checkpoints", "data_dir": machine / "data"}
    cuts = {"upload_batch_size": 3, "checkpoint_interval": 2, "quiet": True}
    return Options(
        **{
            "fresh": True,
            "sources": (SOURCE,),
            "overlap": False,
            **kept,
            **cuts,
            "source_dir": machine / "mirrors",
            **options,
        }
    )


def small_run(machine: Path, stop: StopRequest | None = None, **options: Any) -> RunResult:
    """Such a run, to its end or until `stop` asks for one."""
    chosen, stop = small_options(machine, **options), stop or StopRequest()
    return run(chosen, make_target(chosen, None, stop), None, stop)


def ids_of(folder: Path, split: str) -> list[int]:
    """The numbers of a split's published IDs, in published order."""
    shards = sorted((folder / "data" / split).glob("*.parquet"))
    return [int(name[1:]) for path in shards for name in pq.read_table(path, partitioning=None)["ID"].to_pylist()]


class StopAfter(StopRequest):
    """Asks for a stop once a run has looked so many times; one that reads from a mirror looks after each clip."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def __call__(self) -> bool:
        self._left -= 1
        return self._left <= 0


class StopWhen(StopRequest):
    """Asks for a stop once something has come about."""

    def __init__(self, reached: Callable[[], bool]) -> None:
        super().__init__()
        self._reached = reached

    def __call__(self) -> bool:
        return self._reached()


class Seen:
    """What a process did to the disk: `kind` and path (relative to `folder`) of each step that happened."""

    def __init__(self, folder: Path) -> None:
        self.effects: list[Effect] = []
        self._folder = folder

    def before(self, effect: Effect) -> None:
        """Nothing yet."""

    def after(self, effect: Effect) -> None:
        self.effects.append(Effect(effect.kind, effect.path, None, effect.old))

    @property
    def steps(self) -> list[str]:
        return [f"{effect.kind} {self.name(effect.path)}" for effect in self.effects]

    def name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


class Failing:
    """Lets every step of a kind fail whose path ends in `ending`."""

    def __init__(self, kind: str, ending: str) -> None:
        self._kind, self._ending = kind, ending

    def before(self, effect: Effect) -> None:
        if effect.kind == self._kind and str(effect.path).endswith(self._ending):
            raise OSError(5, "Input/output error", str(effect.path))

    def after(self, effect: Effect) -> None:
        """It happened."""


@contextmanager
def watching(watcher: Any) -> Iterator[Any]:
    """`watcher` sees the steps inside the block."""
    watch(watcher)
    try:
        yield watcher
    finally:
        unwatch(watcher)
