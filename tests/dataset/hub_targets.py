"""A repo on the tests' Hub as a target, and what must hold of it: for the test modules of the Hub target."""

from pathlib import Path
from typing import Any

from tests.hub_server import TOKEN, HubServer
from tests.support import begun_state, change
from utils.dataset.hub_repo import HubTarget
from utils.dataset.layout import STATE_PATH
from utils.dataset.state import State
from utils.dataset.target import Change, Snapshot

REPO = "me/thai-voice"


def target_on(folder: Path, token: str | None = TOKEN, **options: Any) -> HubTarget:
    """A target that loses its patience soon."""
    return HubTarget(REPO, token, folder, **{"patience_s": 0.4, "first_pause_s": 0.02, **options})


def begun(folder: Path, **options: Any) -> tuple[HubTarget, Snapshot]:
    """A new repo whose generation has begun."""
    target = target_on(folder, **options)
    target.open()
    return target, target.begin(Change("Begin", begun_state()), target.snapshot())


def assert_landed_once(hub: HubServer, snapshot: Snapshot, planned: Change) -> None:
    """One commit with our rows, at the head, and the head is what we go on from."""
    assert hub.commit_titles(REPO).count(planned.message) == 1
    assert snapshot.head == hub.head(REPO)
    assert State.from_json(hub.read(REPO, STATE_PATH)) == snapshot.state
    assert snapshot.state.same_dataset(planned.planned)
    for path, local in planned.files.items():
        assert hub.read(REPO, path) == local.read_bytes()


def assert_goes_on(hub: HubServer, target: HubTarget, snapshot: Snapshot, folder: Path) -> None:
    """The next part follows."""
    planned = change(folder / "next", snapshot.state)
    assert_landed_once(hub, target.commit(planned, snapshot), planned)


def edit_repo(hub: HubServer, folder: Path, files: dict[str, bytes]) -> None:
    """Change files of the repo as somebody would on its page."""
    draft = folder / "draft"
    for path in hub.files(REPO):
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        (draft / path).write_bytes(hub.read(REPO, path))
    for path, content in files.items():
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        (draft / path).write_bytes(content)
    hub.add_dataset(REPO, draft)
