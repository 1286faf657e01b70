"""What a test asks a Hub about, wherever the Hub runs."""

from abc import ABC, abstractmethod

from tests.hub.ledger import Seen
from tests.hub.store import Store


class Inspected(ABC):
    """A Hub whose repos and requests can be looked at from this process."""

    store: Store

    @property
    @abstractmethod
    def requests(self) -> list[Seen]:
        """Every request so far, in order of arrival."""

    def count(self, step: str, *, method: str | None = None) -> int:
        """How many requests of a step came in so far."""
        return sum(seen.step == step and method in (None, seen.method) for seen in self.requests)

    def head(self, repo_id: str, revision: str = "main") -> str:
        """The commit that a branch or tag points to."""
        return self.store.resolve(repo_id, revision)

    def files(self, repo_id: str, revision: str = "main") -> dict[str, int]:
        """Path -> size in bytes of all files at a revision, the Hub's own `.gitattributes` left out."""
        tree = self.store.load(repo_id, self.head(repo_id, revision)).tree
        return {path: entry.size for path, entry in tree.items() if path != ".gitattributes"}

    def read(self, repo_id: str, path: str, revision: str = "main") -> bytes:
        """The bytes of a file at a revision; `KeyError` where there is none."""
        entry = self.store.load(repo_id, self.head(repo_id, revision)).tree[path]
        return self.store.object_path(repo_id, entry).read_bytes()

    def commit_titles(self, repo_id: str, revision: str = "main") -> list[str]:
        """The titles of all commits, oldest first; the first is the Hub's own."""
        return [commit.title for commit in self.store.history(repo_id, self.head(repo_id, revision))][::-1]
