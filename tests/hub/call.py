"""One call to the Hub: the request, what its path names, who asks, and what they may do.

A private repo looks to strangers as if it were not there. Who shows no token is told 401 where others are
told 404, as the real Hub does; the client makes "repository not found" of both.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.hub.objects import Refused
from tests.hub.store import Commit, Settings, Store
from tests.hub.wire import Request


@dataclass
class Place:
    """Where a Hub lives and whom it knows. `cdn` is its address under the other host name."""

    store: Store
    tokens: dict[str, str]
    page_size: int
    endpoint: str = ""
    cdn: str = ""
    renamed: dict[str, str] = field(default_factory=dict)
    """Old name -> the name that is asked for instead: every request is redirected, as the Hub does it."""

    def signed(self, path: str) -> str:
        """`path` with the signature that lets its bearer in without a token."""
        return f"{path}?signature={self._signature(path)}"

    def is_signed(self, request: Request) -> bool:
        """Whether the request's address was given out by `signed`."""
        given = request.query.get("signature", [""])[0]
        return hmac.compare_digest(given, self._signature(request.path))

    def _signature(self, path: str) -> str:
        # Clients may quote an address anew: what is signed is its meaning.
        return hmac.new(self.store.secret, unquote(path).encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Call:
    """A request that found its route, with the unquoted parts of its path."""

    place: Place
    request: Request
    parts: dict[str, str]

    @property
    def store(self) -> Store:
        """The Hub's memory."""
        return self.place.store

    @property
    def repo(self) -> str:
        """The id of the repo that the path names: `owner/name`."""
        return self.parts["repo"]

    @property
    def owner(self) -> str:
        """The namespace of the repo."""
        return self.repo.partition("/")[0]

    @property
    def document(self) -> Any:
        """The body as JSON."""
        try:
            return json.loads(self.request.body)
        except ValueError as error:
            raise Refused(400, f"Invalid JSON: {error}") from None

    @property
    def bearer(self) -> str:
        """The token that came with the request; empty where none did."""
        return self.request.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def user(self) -> str | None:
        """Who asks; None without a token. A token that nobody has is refused."""
        token = self.bearer
        if token and token not in self.place.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.place.tokens[token] if token else None

    def signed_in(self) -> str:
        """Who asks; refused without a token."""
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        return self.user

    def readable(self) -> Settings:
        """The settings of the repo, refused to those who may not know that it is there."""
        user, settings = self.user, self.store.settings(self.repo)
        if settings is not None and (not settings.private or user == self.owner):
            return settings
        if user is None:
            raise Refused(401, "Invalid username or password.", code="RepoNotFound")
        raise Refused(404, "Repository not found", code="RepoNotFound")

    def writable(self) -> str:
        """Who asks, refused to all but the repo's owner."""
        self.readable()
        user = self.signed_in()
        if user != self.owner:
            raise Refused(403, f"{user} has no write access to {self.repo}")
        return user

    def files_open(self) -> None:
        """Refuse a gated repo's files to all who were not let in."""
        settings = self.readable()
        if not settings.gated or self.user in (self.owner, *settings.allowed):
            return
        message = f"Access to dataset {self.repo} is restricted"
        if self.user is None:
            raise Refused(401, f"{message}. Please log in.", code="GatedRepo")
        raise Refused(403, f"{message} and you are not in the authorized list.", code="GatedRepo")

    def check_signature(self) -> None:
        """Refuse addresses that this Hub did not give out."""
        if not self.place.is_signed(self.request):
            raise Refused(403, "Invalid signature")

    def commit(self) -> Commit:
        """The commit that the path names, `main`'s where it names none."""
        return self.store.load(self.repo, self.store.resolve(self.repo, self.parts.get("rev", "main")))
