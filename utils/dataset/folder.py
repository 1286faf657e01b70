"""A dataset in a local folder: the target without a Hub.

A folder has no atomic commit of several files, so the order makes one: the part's files first (temporary
name, fsync, rename), then the card, and `state.json` last. *The rename of `state.json` is the commit
point*: files that the state does not name are leftovers of a run that died, set aside at the next start.

What replaces published files is made beside the folder, and the two change places; what is put away lies beside it.
A folder that is a mount point (a volume, a disk) can't be renamed: there all of that lies in the folder itself, under
hidden names that nobody reads, and the change is made in place (`in_place.py`).
"""

import errno
import glob
import hashlib
import logging
import os
import shlex
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from utils.dataset.card import render_card
from utils.dataset.card_text import BEGIN
from utils.dataset.folder_lock import LOCK, FolderLock
from utils.dataset.in_place import CHANGING, InPlaceChange, Intent
from utils.dataset.layout import (
    CARD_PATH,
    DATA_FOLDERS,
    LEDGER_PATH,
    PREVIOUS_STATE_PATH,
    STATE_FOLDER,
    STATE_PATH,
)
from utils.dataset.ledger import Ledger
from utils.dataset.state import State
from utils.dataset.target import Change, Revision, Snapshot, StoredFile, batch_rows, published_files
from utils.disk.durable import (
    TEMPORARY_SUFFIX,
    copy_file,
    fsync_folder,
    link,
    make_folder,
    publish_file,
    remove_tree,
    rename,
    rename_aside,
    sweep_temporaries,
    write_atomically,
)
from utils.disk.mounts import is_mount_point
from utils.errors import Stopped, TargetMoved, TargetRefused
from utils.formats.parquet_file import ParquetFile

log = logging.getLogger(__name__)


_PUT_AWAY = ".before-"
_SET_ASIDE = ".set-aside"
_NO_PART = (_SET_ASIDE, CHANGING, LOCK, "lost+found")


def _is_no_part(name: str) -> bool:
    """Whether what has that name in the folder is no part of the dataset: what was put away, what a disk has itself."""
    return name.startswith(_PUT_AWAY) or name in _NO_PART


_BEFORE_REPAIR = "all of the dataset, before it was repaired"
BEFORE_REMOVAL = "before-removal"
"""What is kept of a folder that clips were taken out of begins like this, after its name."""


class LocalTarget:
    """A folder with the very layout of the Hub's repo."""

    parts_a_commit = 1

    def __init__(self, folder: Path) -> None:
        # Resolved once: two names of one folder must not be two targets.
        self.folder = folder.resolve()
        self.name = str(folder)
        self._in_place = InPlaceChange(self.folder)
        self._lock = FolderLock(self.folder, self.name)

    @property
    def lock_path(self) -> Path:
        return self._lock.path

    @contextmanager
    def lock(self) -> Iterator[None]:
        self._refuse_a_file()
        with self._lock.held():
            if self._died_between_names():
                rename(self._draft, self.folder)
                fsync_folder(self.folder.parent)
                log.info("Finished a change of %s that had died at its very last step", self.name)
            if self.folder.exists():
                self._lock.hold_inside()
            if os.access(self.folder, os.W_OK):
                self._end_what_died_in_place()
            yield

    def _end_what_died_in_place(self) -> None:
        if self._in_place.is_decided():
            self._in_place.carry_out(self._head())
            log.info("Finished a change of %s that had died in its middle", self.name)
        else:
            self._in_place.forget()

    def snapshot(self) -> Snapshot:
        self._refuse_a_file()
        self._refuse_what_is_half_changed()
        raw = self._read(STATE_PATH)
        # `.ingest` without a state is what a first start leaves that died before its commit: not data. Nor are empty
        # folders.
        holds_data = raw is not None or any(path.split("/")[0] != STATE_FOLDER for path in self._paths())
        return Snapshot(_digest(raw), State.from_json(raw) if raw is not None else None, holds_data)

    def _refuse_what_is_half_changed(self) -> None:
        if self._died_between_names():
            raise TargetRefused(
                f"A change of {self.name} died at its very last step. Nothing is lost: repeat that command (--repair, "
                "--remove ... or --fresh), which finishes it."
            )
        if self._in_place.is_decided():
            raise TargetRefused(
                f"{self.name} is being changed, or a change of it died in its middle. Nothing is lost. Wait for the "
                "command that is at it; if there is none, repeat it, or run --verify where the folder can be written: "
                "whichever comes next finishes the change."
            )

    def heal(self, snapshot: Snapshot) -> None:
        if snapshot.state is None:
            return
        below = sorted(path for path in (self.folder / STATE_FOLDER).rglob("*") if path.is_dir())
        for folder in (self.folder, self.folder / STATE_FOLDER, *below):
            sweep_temporaries(folder, alone=True)
        named = self._named_by(snapshot.state)
        for path in self._paths():
            if path.split("/")[0] in DATA_FOLDERS and path not in named:
                self._set_aside(path)
        self._write_card(snapshot.state)

    def _named_by(self, state: State) -> set[str]:
        """The published files of a state. By the ledger, where there is one: it lacks parts that were taken out."""
        if not state.ledger_bytes:
            return set(published_files(state))
        return {record.path for record in Ledger.checked(self._read(LEDGER_PATH), state).records()}

    def begin(self, change: Change, since: Snapshot) -> Snapshot:
        """What a folder holds is put away whole, and the new dataset takes its place."""
        self._refuse_to_bury(since)
        begun = replace(change, planned=replace(change.planned, replaces_old_data=False))
        if since.holds_data:
            kept = self._exchange(begun, self._paths(), "before-fresh")
            log.info("The old dataset is kept as %s", kept)
            return _as_committed(begun.planned)
        make_folder(self.folder)
        self._lock.hold_inside()
        self._write(begun.files)
        return self._put_state(begun.planned)

    def commit(self, change: Change, since: Snapshot) -> Snapshot:
        now = self.snapshot()
        if now.head != since.head:
            if change.planned.same_dataset(now.state):
                return now  # an earlier try renamed the state, and failed after that
            raise TargetMoved(
                f"{self.name} was changed by somebody else while we ran. Our last shard was not written; those "
                "before it are safe. Stop the other run, then repeat this command with --resume."
            )
        self._write(change.files)
        self._write_card(change.planned)
        if (before := self._read(STATE_PATH)) is not None:
            write_atomically(self.folder / PREVIOUS_STATE_PATH, before)
        return self._put_state(change.planned)

    def mend(self, change: Change, since: Snapshot) -> str:
        return f"The dataset as it was is kept in {self._replace(change, since, 'before-repair')}."

    def take_out(self, change: Change, since: Snapshot, keep_old: bool = False) -> str:
        if is_mount_point(self.folder) and not keep_old:
            self._replace(change, since, "")
            return f"No copy of the dataset as it was is kept, as {self.name} is a mount point (--keep-old keeps one)."
        return f"The dataset as it was is kept in {self._replace(change, since, BEFORE_REMOVAL)}."

    def _replace(self, change: Change, since: Snapshot, label: str) -> Path | None:
        if self.head() != since.head:
            raise TargetMoved(
                f"{self.name} was changed by somebody else meanwhile. Nothing was changed by us. Stop the other run, "
                "then repeat this command."
            )
        self._refuse_to_bury(replace(since, holds_data=False))  # it is renamed: not the working folder, then
        return self._exchange(change, (*change.removed, PREVIOUS_STATE_PATH), label)

    def _exchange(self, change: Change, goes: Collection[str], label: str) -> Path | None:
        """Apply a change of published files; returns where the old dataset is kept, under a name with that label."""
        if is_mount_point(self.folder):
            return self._exchange_in_place(change, goes, label)
        draft = LocalTarget(self._draft)
        remove_tree(draft.folder)
        gone = {*goes, *change.files}
        self._link_into(draft.folder, [path for path in self._paths() if path not in gone])
        draft._put(change)
        return self._take_the_name_of_the_old(label)

    def _exchange_in_place(self, change: Change, goes: Collection[str], label: str) -> Path | None:
        """The same where the folder keeps its name. Without a label the old dataset is not kept."""
        in_place = self._in_place
        in_place.forget()
        draft = LocalTarget(in_place.new)
        if CARD_PATH not in goes and (card := self._read(CARD_PATH)) is not None:
            write_atomically(draft.folder / CARD_PATH, card)
        draft._put(change)
        there, comes = self._paths(), draft._paths()
        alone = tuple(path for path in there if path in goes and path not in comes)
        if label:
            self._link_into(in_place.old, [path for path in there if path not in alone])
        kept_as = f".{label}-{_stamp()}" if label else ""
        in_place.decide(Intent((self.head(), draft.head()), alone, kept_as))
        return in_place.carry_out(self._head())

    def _link_into(self, folder: Path, paths: Iterable[str]) -> None:
        """Give files a second name below another folder, durably."""
        for path in paths:
            _link(self.folder / path, folder / path)
        for below, _, _ in os.walk(folder):
            fsync_folder(Path(below))

    def _put(self, change: Change) -> None:
        """Write all of a change, the state last."""
        self._write(change.files)
        self._write_card(change.planned)
        self._put_state(change.planned)

    def _write(self, files: Mapping[str, Path | bytes]) -> None:
        """Stopped where a file is not there as it was written: nothing is forgotten for it, then (law 12)."""
        sizes = {path: len(one) if isinstance(one, bytes) else one.stat().st_size for path, one in files.items()}
        for path, content in files.items():
            if isinstance(content, bytes):
                write_atomically(self.folder / path, content)
            else:
                _move_durably(content, self.folder / path)
        for path, size in sizes.items():
            if not (self.folder / path).exists() or (self.folder / path).stat().st_size != size:
                raise Stopped(
                    f"{self.folder / path} is not as it was just written: its disk does not keep what it is given. "
                    "What was committed before is safe, what is staged is kept. Publish to another disk, or repeat "
                    "this command with --resume once it is mended."
                )

    def _take_the_name_of_the_old(self, label: str) -> Path:
        """The whole draft becomes the dataset; returns where the old one is kept."""
        self._lock.move_to(self._draft)
        kept = rename_aside(self.folder, self.folder.with_name(f"{self.folder.name}.{label}-{_stamp()}"))
        rename_aside(self._draft, self.folder)
        return kept

    def put_away(self) -> list[Path]:
        """What lies beside the folder and may hold rows that it has no more: as it was once, and what was set aside."""
        name = glob.escape(self.folder.name)
        beside = [*self.folder.parent.glob(f"{name}.before-*"), *self.folder.parent.glob(f"{name}.set-aside")]
        return sorted([*beside, *self.folder.glob(f"{_PUT_AWAY}*"), *self.folder.glob(_SET_ASIDE)])

    @property
    def _draft(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.repairing")

    def _died_between_names(self) -> bool:
        """Whether a change put the old folder away, and died before it gave the whole new one its name."""
        return not self.folder.exists() and (self._draft / STATE_PATH).exists()

    def read_file(self, path: str, snapshot: Snapshot) -> bytes | None:
        return self._read(path)

    def read_columns(self, path: str, columns: list[str], snapshot: Snapshot) -> pa.Table:
        # Not `pq.read_table`: it imports pyarrow's datasets, and with them pandas, for a third of a second.
        with pq.ParquetFile(self.folder / path) as file:
            return file.read(columns=columns)

    def head(self) -> str:
        self._refuse_what_is_half_changed()
        return self._head()

    def _head(self) -> str:
        return _digest(self._read(STATE_PATH))

    def stored_files(self, snapshot: Snapshot) -> list[StoredFile]:
        return [StoredFile(path, (self.folder / path).stat().st_size) for path in self._paths()]

    def _paths(self) -> list[str]:
        if not self.folder.exists():
            return []
        # Not `rglob`, which passes silently over folders that may not be read (law 8).
        below = os.walk(self.folder, onerror=_raise)
        paths = []
        for parent, folders, names in below:
            if Path(parent) == self.folder:
                folders[:] = [name for name in folders if not _is_no_part(name)]
                names = [name for name in names if not _is_no_part(name)]
            paths += [Path(parent, name).relative_to(self.folder).as_posix() for name in names]
        return sorted(paths)

    def earlier(self, path: str, snapshot: Snapshot) -> Iterator[Revision]:
        """A folder keeps the state before the last commit; a repair, all of the dataset as it was."""
        if path == STATE_PATH and (before := self._read(PREVIOUS_STATE_PATH)) is not None:
            copy = shlex.join(["cp", str(self.folder / PREVIOUS_STATE_PATH), str(self.folder / path)])
            yield Revision(PREVIOUS_STATE_PATH, "as it was before the last commit", before, (copy,))
        for old in sorted(self.folder.parent.glob(f"{glob.escape(self.folder.name)}.before-repair-*"), reverse=True):
            swap = ((self.folder, self.folder.with_name(f"{self.folder.name}.damaged")), (old, self.folder))
            moves = tuple(shlex.join(["mv", str(here), str(there)]) for here, there in swap)
            yield Revision(str(old), _BEFORE_REPAIR, LocalTarget(old)._read(path), moves)
        for old in sorted(self.folder.glob(f"{_PUT_AWAY}repair-*"), reverse=True):
            copies = (shlex.join(["cp", "-a", "--remove-destination", f"{old}/.", str(self.folder)]),)
            yield Revision(str(old), _BEFORE_REPAIR, LocalTarget(old)._read(path), copies)

    def sha256(self, path: str, snapshot: Snapshot) -> str:
        with (self.folder / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def column_names(self, path: str, snapshot: Snapshot) -> list[str]:
        with (self.folder / path).open("rb") as stream, ParquetFile(stream) as file:
            return list(file.schema.names)

    def batches(self, path: str, columns: list[str], snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
        with (self.folder / path).open("rb") as stream, ParquetFile(stream) as file:
            yield from file.batches(range(file.groups), columns, batch_rows(columns))

    def _refuse_a_file(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise TargetRefused(f"{self.name} is a file, not a folder. Nothing was changed. Name another --output.")

    def _refuse_to_bury(self, since: Snapshot) -> None:
        """`--fresh` renames the folder aside: only ever one that looks like a dataset of ours or a card's."""
        here = Path.cwd().resolve()
        if self.folder == here or self.folder in here.parents:
            raise TargetRefused(f"{self.name} holds the working folder. Nothing was changed. Name another --output.")
        if since.holds_data and not self._looks_like_a_dataset():
            raise TargetRefused(
                f"{self.name} holds something that is not a dataset. Nothing was changed. Name an empty or new "
                "folder with --output."
            )

    def _looks_like_a_dataset(self) -> bool:
        """It has our state, our card, or Parquet files where a dataset's are."""
        card = self._read(CARD_PATH) or b""
        has_parquet = any(
            path.suffix == ".parquet" for name in DATA_FOLDERS for path in (self.folder / name).rglob("*")
        )
        return (self.folder / STATE_PATH).exists() or BEGIN.encode() in card or has_parquet

    def _put_state(self, state: State) -> Snapshot:
        write_atomically(self.folder / STATE_PATH, state.to_json())
        return _as_committed(state)

    def _write_card(self, state: State) -> None:
        existing = self._read(CARD_PATH)
        text = existing.decode(errors="surrogateescape") if existing is not None else None
        card = render_card(state, text)
        if card != text:
            write_atomically(self.folder / CARD_PATH, card.encode(errors="surrogateescape"))

    def _set_aside(self, path: str) -> None:
        try:
            kept = rename_aside(self.folder / path, self.folder.with_name(f"{self.folder.name}.set-aside") / path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            kept = rename_aside(self.folder / path, self.folder / _SET_ASIDE / path)
        log.info("Set aside %s, which the state does not name (a run died before its commit): now %s", path, kept)

    def _read(self, path: str) -> bytes | None:
        """A file's content, None where it is not there. Any other failure raises."""
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None


def _raise(error: OSError) -> None:
    raise error


def _stamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S")


def _as_committed(state: State) -> Snapshot:
    return Snapshot(_digest(state.to_json()), state, holds_data=True)


def _digest(raw: bytes | None) -> str:
    return "none" if raw is None else hashlib.sha256(raw).hexdigest()


def _link(old: Path, new: Path) -> None:
    """The same file under a second name; a copy where the file system has no such thing."""
    make_folder(new.parent)
    try:
        link(old, new)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
            raise
        copy_file(old, new)


def _move_durably(local: Path, final: Path) -> None:
    """Move a built file into the target; over a file-system border it is copied under a temporary name first."""
    make_folder(final.parent)
    try:
        publish_file(local, final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = final.with_name(final.name + TEMPORARY_SUFFIX)
        copy_file(local, temporary)
        publish_file(temporary, final)
