"""The Hub as a target: one `create_commit` is the sole commit point, and a lost answer is not a no.

What the client does (huggingface_hub 2.x): it repeats everything up to the commit by itself, but never
the commit. So after a commit without a clear yes we look at what is there (law 2):

    our planned state   it landed, perhaps sent by a run that died before us: go on
    the state before    it did not: send again, with fresh operation objects, on the head that is there
    anything else       somebody else writes: stop, nothing overwritten

A yes is not believed either (law 12): the paths that a commit wrote or deleted are asked for at the commit that it
made. What is not as planned is sent again.
"""

import hashlib
import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from utils.dataset.card import render_card
from utils.dataset.layout import CARD_PATH, DATA_FOLDERS, HEARD_PATH, LEDGER_PATH, REMOVED_PATH, STATE_PATH
from utils.dataset.state import State
from utils.dataset.target import Change, Revision, Snapshot, StoredFile, batch_rows
from utils.dataset.unless_stopped import unless_stopped
from utils.disk.lock import hold_lock
from utils.errors import AuthenticationError, Interrupted, Stopped, TargetMoved, TargetRefused
from utils.formats.parquet_file import ParquetFile
from utils.rows.printable import one_line, shown
from utils.sources import hub, xet

log = logging.getLogger(__name__)

Result = TypeVar("Result")

KEPT_BY_FRESH = (".gitattributes", CARD_PATH, "LICENSE", "LICENSE.md", REMOVED_PATH)
"""Files of an old generation that its successor does not remove."""

SHOWN = 3
"""Of a list of paths, in a message."""

PATHS_AT_ONCE = 500
"""In a question about paths; a run's commits have fewer."""

REFUSALS = (400, 413, 422)
"""Statuses that say what is wrong with the request itself."""


class HubTarget:
    """A dataset repo on the Hub."""

    parts_a_commit = 16
    """The Hub counts commits: a slow one is followed by one of all that has gathered meanwhile."""

    def __init__(
        self,
        repo_id: str,
        token: str | None,
        lock_folder: Path,
        *,
        private: bool = False,
        timeout_s: float = 60.0,
        patience_s: float = 600.0,
        first_pause_s: float = 1.0,
        stop_requested: Callable[[], bool] = hub.never,
    ) -> None:
        self.name = repo_id
        self._api = hub.connect(token, timeout_s)
        xet.prepare_environment(timeout_s, patience_s)
        self._large_files = xet.LargeFiles()
        self._token = token
        self._private = private
        self._patience_s = patience_s
        self._first_pause_s = first_pause_s
        self._stop_requested = stop_requested
        self.lock_path = lock_folder / "lock"

    def lock(self) -> AbstractContextManager[object]:
        return hold_lock(self.lock_path, self.name)

    def open(self) -> None:
        """Make ready for writing: create the repo where there is none.

        AuthenticationError without a token; TargetRefused where the repo is public and was to be private.
        """
        self.require_token()
        if self.is_public() is None:
            self._ask("create the repo", lambda: self._create_repo())
        elif self._private and self.is_public():
            raise TargetRefused(
                f"{self.name} exists and is public, but --private was given. Nothing was changed. Make it private "
                "in its settings, or name another --hf-repo."
            )

    def require_token(self) -> None:
        """AuthenticationError where there is no token: known without asking anybody."""
        if not self._token:
            raise AuthenticationError(
                f"Publishing to {self.name} needs a token of the Hub with write access. Nothing was changed. Set "
                "HF_TOKEN, or log in with `hf auth login`, or put the token into the file hf_token.txt."
            )

    def is_public(self) -> bool | None:
        """None where there is no such repo (or none that this token may see)."""

        def look() -> bool | None:
            try:
                return not self._api.dataset_info(self.name).private
            except hub.hf_errors().RepositoryNotFoundError:
                return None

        return self._ask("read the repo", look)

    def snapshot(self) -> Snapshot:
        return self._ask("read the repo's head", self._look)

    def heal(self, snapshot: Snapshot) -> None:
        """A commit is whole or not there: nothing is ever left behind but blobs that nobody points to."""

    def begin(self, change: Change, since: Snapshot) -> Snapshot:
        if since.holds_data:
            self._tag("before-fresh", since)
        # The files that it would write are there, and stay (KEPT_BY_FRESH).
        return self.commit(replace(change, files={}), since)

    def mend(self, change: Change, since: Snapshot) -> str:
        tag = self._tag("before-repair", since)
        self.commit(change, since)
        return f"The dataset as it was stays reachable as revision {tag}."

    def take_out(self, change: Change, since: Snapshot, keep_old: bool = False) -> str:
        """Without a tag: what is to go should not get one more name. The history keeps it in any case."""
        self.commit(change, since)
        return f"The dataset as it was stays reachable as revision {since.head[:12]}."

    def tags(self) -> dict[str, str]:
        """Name -> commit."""
        return self._ask("read the tags", self._tags)

    def _tag(self, label: str, since: Snapshot) -> str:
        tag = f"{label}-{since.head[:12]}"

        def create() -> None:
            self._api.create_tag(self.name, tag=tag, revision=since.head, repo_type="dataset", exist_ok=True)

        for pause_s in self._pauses():
            self._ask("tag the old head", create)
            # To the client a 409 means that the tag is there; the Hub says it of a busy repo too.
            if self.tags().get(tag) == since.head:
                log.info("The old dataset stays reachable as revision %s", tag)
                return tag
            self._wait(pause_s)
        raise self._gave_up("tag the old head")

    def _tags(self) -> dict[str, str]:
        refs = self._api.list_repo_refs(self.name, repo_type="dataset")
        return {tag.name: tag.target_commit for tag in refs.tags}

    def commit(self, change: Change, since: Snapshot) -> Snapshot:
        base = since
        wrong: list[str] = []
        for pause_s in self._pauses():
            operations = list(self._operations(change, base, since))
            head = self._sent(operations, change, base, pause_s)
            if head is not None:
                wrong = self._not_as_planned(head, operations, change, since)
                if not wrong:
                    return Snapshot(head, change.planned, holds_data=True)
                log.warning("Commit %.7s on %s is not as it was sent: %s", head, self.name, "; ".join(wrong[:SHOWN]))
                self._wait(pause_s)
            now = self.snapshot()
            if change.planned.same_dataset(now.state):
                wrong = self._not_as_planned(now.head, operations, change, since, now.state)
                if not wrong:
                    log.info("The commit had landed: head %.7s", now.head)
                    return now
            # What a repair writes again, it has read at `since`: nothing else may have come in between.
            elif now.state != since.state or (change.only_since and now.head != since.head):
                raise self._moved(since, now)
            base = now
        raise self._incomplete(since, wrong) if wrong else self._gave_up("commit")

    def _sent(self, operations: Sequence[Any], change: Change, base: Snapshot, pause_s: float) -> str | None:
        """The commit that the Hub says it made; None, after a pause, where it gave no clear answer."""
        send = partial(self._send, list(operations), change, base)
        try:
            return self._large_files.send(lambda: unless_stopped(send, self._stop_requested, xet.abort))
        except hub.COMMIT_ERRORS as error:
            self._stop_if_forbidden(error)
            self._stop_if_refused(error)
            # Nor is an answer a clear one that is no JSON (a gateway's error page), or says nothing of a commit.
            is_unclear = hub.is_unclear_answer(error) or hub.is_answer_of_another_shape(error)
            is_unclear = is_unclear or isinstance(error, xet.XetFailed)
            if hub.network_error_behind(error) is None and not is_unclear:
                raise
            log.warning(
                "No clear yes to a commit on %s (%s): looking at what is there, and trying again, for %s at most",
                *(self.name, _why(error), _spelled(self._patience_s)),
            )
            self._wait(max(pause_s, hub.retry_after_s(error)) if pause_s else 0.0)
            return None

    def _send(self, operations: list[Any], change: Change, base: Snapshot) -> str:
        self._refuse_ignored([one.path_in_repo for one in operations if hub.adds(one)], base)
        sizes = [one.upload_info.size for one in operations if hub.adds(one)]
        log.info("sending %d files, %.1f MB, to %s", len(sizes), sum(sizes) / 1e6, self.name)
        commit = self._api.create_commit(
            self.name, operations, commit_message=change.message, repo_type="dataset", parent_commit=base.head
        )
        return str(commit.oid)

    def _refuse_ignored(self, paths: Sequence[str], base: Snapshot) -> None:
        """TargetRefused where the Hub would commit without some of these: a `.gitignore` in the repo can say so."""
        ignored = hub.ignored_paths(self._api, self.name, paths)
        if not ignored:
            return
        listed = self._ask("list the repo", partial(self._paths, base.head))
        files = [path for path in listed if path.rpartition("/")[2] == ".gitignore"] or [".gitignore"]
        raise TargetRefused(
            f"{self.name} has a file {', '.join(map(shown, files))} by which the Hub would leave out "
            f"{_counted(ignored)}. Nothing was uploaded. What was committed is safe, what is staged here is kept. Take "
            "those lines out of it, then repeat this command (a run with --resume)."
        )

    def _not_as_planned(
        self, head: str, operations: Sequence[Any], change: Change, since: Snapshot, found: State | None = None
    ) -> list[str]:
        """What a commit has not done of what it was to do, in words; nothing where it is as planned.

        `found`: the state that was read there. A run that died before us may have sent it: then only what the state
        signs is compared, as the rest may have been put in other words.
        """
        added = {one.path_in_repo: one for one in operations if hub.adds(one)}
        gone = [one.path_in_repo for one in operations if not hub.adds(one)]
        if found is not None and found.run_id != change.planned.run_id:
            added = {path: one for path, one in added.items() if _is_signed(path)}
        stored = self._ask("look at what was committed", partial(self._stored_at, head, [*added, *gone]))
        if stored is None:
            return [f"there is no commit {head:.7}"]
        wrong = [f"{path} is not there" for path in added if path not in stored]
        there = {path: one for path, one in added.items() if path in stored}
        wrong += [f"{path} is not what was sent" for path, one in there.items() if not hub.is_sent(one, stored[path])]
        wrong += [f"{path} is still there" for path in gone if path in stored]
        if self._replaces_all(change, since):
            told_of = {*_kept(change), *gone}
            listed = self._ask("list the repo", partial(self._paths, head))
            wrong += [f"{path} is still there" for path in listed if path not in told_of]
        return wrong

    def _stored_at(self, head: str, paths: Sequence[str]) -> dict[str, Any] | None:
        """What a commit has at these paths; None where there is no such commit (yet)."""
        found: dict[str, Any] = {}
        for first in range(0, len(paths), PATHS_AT_ONCE):
            some = list(paths[first : first + PATHS_AT_ONCE])
            try:
                infos = self._api.get_paths_info(self.name, some, revision=head, repo_type="dataset")
            except hub.hf_errors().RevisionNotFoundError:
                return None
            found.update({info.path: info for info in infos})
        return found

    def read_file(self, path: str, snapshot: Snapshot) -> bytes | None:
        return self._ask(f"read {path}", partial(self._read, path, snapshot.head))

    def read_columns(self, path: str, columns: list[str], snapshot: Snapshot) -> pa.Table:
        def read() -> pa.Table:
            files = hub.filesystem(self._token)
            with files.open(f"datasets/{self.name}/{path}", revision=snapshot.head, block_size=2**20) as file:
                # One thread: others would call the file, which is Python's, and may still do so when Python ends.
                return pq.ParquetFile(file).read(columns=columns, use_threads=False)

        return self._ask(f"read {path}", read)

    def head(self) -> str:
        return str(self._ask("read the repo's head", lambda: self._api.dataset_info(self.name)).sha)

    def stored_files(self, snapshot: Snapshot) -> list[StoredFile]:
        def tree() -> list[StoredFile]:
            entries = self._api.list_repo_tree(self.name, repo_type="dataset", revision=snapshot.head, recursive=True)
            files = (entry for entry in entries if hasattr(entry, "size"))
            return [StoredFile(file.path, file.size, file.lfs.sha256 if file.lfs else None) for file in files]

        return sorted(self._ask("list the repo", tree), key=lambda file: file.path)

    def earlier(self, path: str, snapshot: Snapshot) -> Iterator[Revision]:
        list_them = partial(self._api.list_repo_commits, self.name, repo_type="dataset", revision=snapshot.head)
        for commit in self._ask("list the commits", list_them)[1:]:
            content = self._ask(f"read {path}", partial(self._read, path, commit.commit_id))
            of_dataset, commit_id = ["--repo-type", "dataset"], one_line(commit.commit_id)
            down = ["hf", "download", self.name, path, *of_dataset, "--revision", commit_id]
            up = ["hf", "upload", self.name, f"restored/{path}", path, *of_dataset]
            yield Revision(
                f"commit {commit_id}",
                f"{commit.created_at:%Y-%m-%d %H:%M:%S} UTC, {commit.title!r}",
                content,
                (shlex.join([*down, "--local-dir", "restored"]), shlex.join(up)),
            )

    def sha256(self, path: str, snapshot: Snapshot) -> str:
        """The bytes are held in memory: meant for the small files, of which the Hub's listing does not say it."""
        return hashlib.sha256(self.read_file(path, snapshot) or b"").hexdigest()

    def column_names(self, path: str, snapshot: Snapshot) -> list[str]:
        with self._parquet(path, snapshot) as file:
            return list(file.schema.names)

    def batches(self, path: str, columns: list[str], snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
        with self._parquet(path, snapshot) as file:
            for number in range(file.groups):
                read = partial(file.read_group, number, columns)
                table = self._ask(f"read {path}", read)
                yield from table.to_batches(max_chunksize=batch_rows(columns))

    @contextmanager
    def _parquet(self, path: str, snapshot: Snapshot) -> Iterator[ParquetFile]:
        """A Parquet file, read by ranges."""

        def open_it() -> tuple[Any, ParquetFile]:
            files = hub.filesystem(self._token)
            raw = files.open(f"datasets/{self.name}/{path}", revision=snapshot.head, block_size=2**20)
            return raw, ParquetFile(raw)

        raw, parquet = self._ask(f"open {path}", open_it)
        with raw, parquet:
            yield parquet

    def _create_repo(self) -> None:
        try:
            self._api.create_repo(self.name, repo_type="dataset", private=self._private)
        except hub.NETWORK_ERRORS as error:
            # A 409 may be about what an earlier try has made, or about anything else.
            if hub.status_of(error) != 409 or self.is_public() is None:
                raise
        except (KeyError, ValueError) as error:  # what the client makes of an answer that says nothing of a repo
            if self.is_public() is None:
                raise Stopped(
                    f"The Hub gave no sensible answer when {self.name} was to be created ({type(error).__name__}). "
                    "Nothing was changed. Repeat this command."
                ) from error

    def _look(self) -> Snapshot:
        head = self._api.dataset_info(self.name).sha
        raw = self._read(STATE_PATH, head)
        state = State.from_json(raw) if raw is not None else None
        holds_data = state is not None or any(
            path not in KEPT_BY_FRESH or path == CARD_PATH for path in self._paths(head)
        )
        return Snapshot(head, state, holds_data)

    def _paths(self, head: str) -> list[str]:
        return list(self._api.list_repo_files(self.name, repo_type="dataset", revision=head))

    def _read(self, path: str, head: str) -> bytes | None:
        """A small file at a revision, None where that revision has none. Any other failure raises."""
        try:
            return hub.read_file(self.name, path, head, self._token)
        except hub.hf_errors().RemoteEntryNotFoundError:
            return None

    def _operations(self, change: Change, base: Snapshot, since: Snapshot) -> Iterator[Any]:
        """Fresh operation objects for every try: used ones skip the upload, and can make a second commit.

        `base` is what the commit goes onto, `since` what the change was planned on: of a try that was carried out in
        part, what is deleted already is not deleted again (the Hub refuses that).
        """
        add, delete = hub.operations()
        for path, content in change.files.items():
            yield add(path, content)
        yield add(STATE_PATH, change.planned.to_json())
        goes_on = base.state is not None and base.state.generation == change.planned.generation
        if change.files or goes_on:
            yield add(CARD_PATH, self._card(change.planned, base).encode())
        replaces = self._replaces_all(change, since)
        if not (change.removed or replaces):
            return
        listed = partial(self._paths, base.head)
        there = self._ask("list the repo", listed) if replaces or base is not since else change.removed
        kept = _kept(change)
        for path in there:
            if path in change.removed or (replaces and path not in kept):
                yield delete(path)

    @staticmethod
    def _replaces_all(change: Change, since: Snapshot) -> bool:
        """Whether this is the commit of a new generation that takes the place of the old data."""
        return since.state is not None and since.state.replaces_old_data and not change.planned.replaces_old_data

    def _card(self, planned: State, base: Snapshot) -> str:
        existing = self._ask(f"read {CARD_PATH}", partial(self._read, CARD_PATH, base.head))
        # Not byte for byte where it is no UTF-8: the client refuses to send such a card.
        return render_card(planned, existing.decode(errors="replace") if existing is not None else None, self.name)

    def _ask(self, what: str, request: Callable[[], Result]) -> Result:
        """A request that may be repeated freely, repeated for as long as our patience lasts."""
        for pause_s in self._pauses():
            try:
                return request()
            except hub.NETWORK_ERRORS as error:
                self._stop_if_forbidden(error)
                if not hub.is_transient(error):
                    raise self._refused(what, error) from error
                log.warning(
                    "Could not %s of %s (%s); trying again, for %s at most",
                    *(what, self.name, _why(error), _spelled(self._patience_s)),
                )
                self._wait(max(pause_s, hub.retry_after_s(error)) if pause_s else 0.0)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if not hub.is_answer_of_another_shape(error):
                    raise
                log.warning("Could not %s of %s (the answer makes no sense); trying again", what, self.name)
                self._wait(pause_s)
        raise self._gave_up(what)

    def _pauses(self) -> Iterator[float]:
        """Seconds to wait after each try: 1, 2, 4 ... 60, in all about our patience; 0 after the last, which comes when
        that is over. At least three tries."""
        waited = 0.0
        for tries, pause_s in enumerate(hub.doubling(self._first_pause_s, 60.0)):
            if tries >= 2 and waited >= self._patience_s:
                yield 0.0
                return
            yield pause_s
            waited += pause_s

    def _wait(self, seconds: float) -> None:
        """Wait, unless somebody asks us to stop."""
        if not hub.pause(seconds, self._stop_requested):
            raise Interrupted("Stopped on request while the Hub could not be reached. What is staged is kept.")

    def _moved(self, since: Snapshot, now: Snapshot) -> TargetMoved:
        return TargetMoved(
            f"{self.name} moved from {since.head:.7} to {now.head:.7} while we ran. Our last shard was not written; "
            "those before it are safe. Stop the other run, then repeat this command with --resume."
        )

    def _refused(self, what: str, error: BaseException) -> TargetRefused:
        if hub.is_missing(error):
            return TargetRefused(
                f"{self.name} has gone from the Hub while we ran, or this token may not see it any more. What is "
                "staged here is kept."
            )
        return TargetRefused(
            f"The Hub would not {what} for {self.name} ({_why(error)}){_in_its_words(error)}. What was committed is "
            "safe, what is staged here is kept. Mend that, then repeat this command (a run with --resume)."
        )

    def _stop_if_forbidden(self, error: BaseException) -> None:
        if isinstance(error, xet.XetFailed):
            is_refused = error.is_for_good
        else:
            # A large file's address says 403 when it has expired: the next try gets a new one.
            is_refused = hub.is_auth_problem(error) and not isinstance(error, RuntimeError)
        if not is_refused:
            return
        said = hub.sentence_of(error)
        if said and hub.status_of(error) == 403 and not hub.is_about_access(said):
            raise self._refused("take this", error) from error
        raise AuthenticationError(
            f"The Hub does not let this token write to {self.name}{_in_its_words(error)}. What is staged here is kept. "
            "Check the name and that the token has write access, then repeat this command with --resume."
        ) from error

    def _stop_if_refused(self, error: BaseException) -> None:
        """What the Hub finds wrong in the commit itself, it will find wrong again (not so a large file's upload)."""
        if hub.status_of(error) not in REFUSALS or isinstance(error, RuntimeError):
            return
        if type(error) is ValueError:  # the client's own word on a card; it names the lines, and no address
            raise TargetRefused(
                f"The Hub refuses the card of {self.name}: {error}\nWhat was committed is safe, what is staged here is "
                "kept. Mend the metadata at the top of its README.md, then repeat this command with --resume."
            ) from error
        raise self._refused("commit", error) from error

    def _incomplete(self, since: Snapshot, wrong: Sequence[str]) -> TargetRefused:
        return TargetRefused(
            f"The Hub committed to {self.name}, but not all of it: {'; '.join(wrong[:SHOWN])}"
            f"{f' and {len(wrong) - SHOWN} more' if len(wrong) > SHOWN else ''}. It was sent again, without success. "
            f"What is staged here is kept. Go back to revision {since.head} of the repo, then repeat this command with "
            "--resume."
        )

    def _gave_up(self, what: str) -> Stopped:
        return Stopped(
            f"The Hub could not {what} for {self.name} after {_spelled(self._patience_s)} of trying. Nothing is lost: "
            "what was committed is safe, the rest is staged here. Check the network, then repeat this command with "
            "--resume; --patience says how long it tries."
        )


def _in_its_words(error: BaseException) -> str:
    """The reason that the Hub gives, behind our own words; nothing where it gives none."""
    said = hub.sentence_of(error)
    return f', as it says: "{said}"' if said else ""


def _spelled(seconds: float) -> str:
    """So many minutes, or seconds where they are few."""
    count, unit = (seconds / 60, "minute") if seconds >= 120 else (max(seconds, 1), "second")
    return f"{count:.0f} {unit}{'' if round(count) == 1 else 's'}"


def _kept(change: Change) -> set[str]:
    """What the commit that replaces old data leaves in place or writes."""
    return {*KEPT_BY_FRESH, STATE_PATH, *change.files}


def _counted(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN} more files" if len(paths) > SHOWN else ""
    return ", ".join(map(shown, paths[:SHOWN])) + more


def _is_signed(path: str) -> bool:
    """Whether the state says what a file's bytes are."""
    return path.split("/")[0] in DATA_FOLDERS or path in (LEDGER_PATH, REMOVED_PATH, HEARD_PATH)


def _why(error: BaseException) -> str:
    """An error in a few words, and what it was raised from; never an address, which may hold a secret."""
    cause = hub.network_error_behind(error)
    return str(error) if isinstance(error, xet.XetFailed) else hub.in_short(cause or error)
