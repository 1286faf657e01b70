"""The queries file: YAML -> queries, checked before anything is bought; an error names the line and what to type.

actor: apidojo/tweet-scraper          # of all queries that name no other
defaults: {min_likes: 1, language: th, max_replies_per_author: 5}
fields: {likes: stats.likes}          # where this actor puts things; see processors/apify/fields.py
queries:
  - name: food
    input: {searchTerms: ["อาหาร filter:replies"], maxItems: 500}
    filters: {min_likes: 5}
    max_items: 500                    # what Apify itself may charge for at most
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from processors.apify.fields import FIELD_NAMES
from processors.apify.filters import Filters
from utils.errors import UsageError
from utils.formats.yaml_lines import ValuePath, line_of, parse_yaml, read_text, unknown_key
from utils.rows.printable import shown

_NOTHING_BOUGHT = "Nothing was bought."
_TOP_KEYS = ("actor", "defaults", "fields", "queries")
_QUERY_KEYS = ("name", "input", "actor", "filters", "fields", "max_items")
_EXAMPLE = "queries:\n  - name: food\n    actor: apidojo/tweet-scraper\n    input: {searchTerms: [...], maxItems: 500}"


@dataclass(frozen=True)
class Rules:
    """What makes pairs of a query's items: pure data, kept beside the items, so that they always come out the same."""

    filters: Filters = field(default_factory=Filters)
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Field -> where the actor puts it, the first place that has something counts; over the usual places."""

    def as_json(self) -> dict[str, Any]:
        return {
            "filters": {name: value for name, value in asdict(self.filters).items() if value is not None},
            "fields": {name: list(places) for name, places in self.fields.items()},
        }

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "Rules":
        return cls(Filters(**content["filters"]), {name: tuple(places) for name, places in content["fields"].items()})


@dataclass(frozen=True)
class Query:
    """One run to buy, and what to make of its items."""

    name: str
    actor: str
    input: Mapping[str, Any]
    rules: Rules = field(default_factory=Rules)
    max_items: int | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.input)


def fingerprint(run_input: Any) -> str:
    """A digest of a run's input that does not depend on how JSON spells it."""
    return hashlib.sha256(json.dumps(canonical(run_input), sort_keys=True).encode()).hexdigest()


def canonical(value: Any) -> Any:
    """A JSON value in which 5.0 is 5, as it comes back from software that knows one kind of number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: canonical(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [canonical(inner) for inner in value]
    return value


def load_queries(path: Path) -> list[Query]:
    """The queries of a file, in its order. UsageError where there is anything that is not understood."""
    text = read_text(path, "queries file", _NOTHING_BOUGHT, _EXAMPLE)
    return parse_queries(text, path.name)


def parse_queries(text: str, name: str = "queries.yaml") -> list[Query]:
    """The queries in a file's text; `name` is what messages call it."""
    content, lines = parse_yaml(text, name, _NOTHING_BOUGHT)
    return _Reader(name, lines).queries(content)


class _Reader:
    """Checks the content of a file, value by value."""

    def __init__(self, name: str, lines: Mapping[ValuePath, int]) -> None:
        self._name, self._lines = name, lines

    def queries(self, content: Any) -> list[Query]:
        top = self._mapping(content, (), _TOP_KEYS)
        listed = top.get("queries")
        if not isinstance(listed, list) or not listed:
            raise self._wrong(("queries",), f"there must be a list of queries, such as:\n{_EXAMPLE}")
        actor = self._actor(top.get("actor"), ("actor",)) if "actor" in top else None
        defaults = self._filters(top.get("defaults", {}), ("defaults",))
        places = self._places(top.get("fields", {}), ("fields",))
        queries = [self._query(each, ("queries", index), actor, defaults, places) for index, each in enumerate(listed)]
        names: set[str] = set()
        for index, query in enumerate(queries):
            if query.name in names:
                raise self._wrong(
                    ("queries", index, "name"),
                    f"the name {shown(query.name)!r} is taken: names tell "
                    "queries apart, what was bought is remembered by them",
                )
            names.add(query.name)
        return queries

    def _query(
        self,
        content: Any,
        path: ValuePath,
        actor: str | None,
        defaults: Mapping[str, Any],
        places: Mapping[str, tuple[str, ...]],
    ) -> Query:
        given = self._mapping(content, path, _QUERY_KEYS)
        name = given.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
            raise self._wrong((*path, "name"), "each query needs a name of 1 to 100 letters, such as name: food")
        if "actor" in given:
            actor = self._actor(given["actor"], (*path, "actor"))
        if actor is None:
            raise self._wrong(path, "no actor is named. Type one at the top of the file: actor: apidojo/tweet-scraper")
        run_input = given.get("input")
        if not isinstance(run_input, dict):
            raise self._wrong((*path, "input"), "each query needs the input of its run, such as input: {maxItems: 500}")
        self._check_json(run_input, (*path, "input"))
        filters = Filters(**{**defaults, **self._filters(given.get("filters", {}), (*path, "filters"))})
        own_places = {**places, **self._places(given.get("fields", {}), (*path, "fields"))}
        return Query(name, actor, run_input, Rules(filters, own_places), self._max_items(given, path))

    def _mapping(self, content: Any, path: ValuePath, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(content, dict):
            raise self._wrong(path, f"here must be `key: value` lines ({', '.join(known)})")
        for key in content:
            if key not in known:
                raise self._wrong((*path, f"{key}:"), unknown_key(key, known), end="")
        return content

    def _actor(self, value: Any, path: ValuePath) -> str:
        if not isinstance(value, str) or not value.strip() or any(c.isspace() for c in value) or value.count("/") > 1:
            raise self._wrong(path, "an actor is named as on its page, such as actor: apidojo/tweet-scraper")
        return value

    def _max_items(self, given: Mapping[str, Any], path: ValuePath) -> int | None:
        value = given.get("max_items")
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise self._wrong((*path, "max_items"), "max_items is a whole number from 1 on")
        return value

    def _filters(self, content: Any, path: ValuePath) -> dict[str, Any]:
        kinds = {each.name: get_args(each.type) or (each.type,) for each in fields(Filters)}
        given = self._mapping(content, path, tuple(kinds))
        for name, value in given.items():
            if problem := _filter_problem(name, kinds[name], value):
                raise self._wrong((*path, name), problem)
        return given

    def _places(self, content: Any, path: ValuePath) -> dict[str, tuple[str, ...]]:
        given = self._mapping(content, path, FIELD_NAMES)
        places = {name: (value,) if isinstance(value, str) else value for name, value in given.items()}
        for name, named in places.items():
            if not isinstance(named, (list, tuple)) or not named or not all(isinstance(p, str) and p for p in named):
                raise self._wrong(
                    (*path, name), f"{name} is where the actor puts it, such as {name}: stats.{name}, or a list of such"
                )
        return {name: tuple(named) for name, named in places.items()}

    def _check_json(self, value: Any, path: ValuePath) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise self._wrong((*path, f"{key}:"), f"the name {shown(key)!r} needs quotes")
                self._check_json(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._check_json(inner, (*path, index))
        elif isinstance(value, float) and not abs(value) < float("inf"):
            raise self._wrong(path, f"{value} is no number that can be sent")
        elif value is not None and not isinstance(value, (str, int, float)):
            raise self._wrong(path, f"{shown(value)!r} can't be sent: put it in quotes")

    def _wrong(self, path: ValuePath, problem: str, end: str = ".") -> UsageError:
        return UsageError(f"{self._name}, line {line_of(path, self._lines)}: {problem}{end} {_NOTHING_BOUGHT}")


def _filter_problem(name: str, kinds: tuple[Any, ...], value: Any) -> str | None:
    """What is wrong with a filter's value; None where nothing is."""
    if bool in kinds:
        return None if isinstance(value, bool) else f"{name} is true or false"
    if str in kinds:
        return None if isinstance(value, str) and value else f"{name} is the code of a language, such as th"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if int in kinds:
        whole = is_number and isinstance(value, int) and value >= 0
        return None if whole else f"{name} is a whole number from 0 on"
    return None if is_number and 0 <= value < float("inf") else f"{name} is a number from 0 on"
