"""The queries file: what it may say; and errors that name the line and what to type."""

from pathlib import Path

import pytest

from processors.apify.filters import Filters
from processors.apify.queries import Rules, fingerprint, load_queries, parse_queries
from utils.errors import UsageError

FULL = """\
actor: maker/tweets
defaults: {min_likes: 1, language: th}
fields: {likes: stats.likes}
queries:
  - name: food
    input: {searchTerms: ["อาหาร"], maxItems: 500, start: 2024-01-01}
    filters: {min_likes: 5, no_links: true, max_age_days: 0.5}
    max_items: 500
  - name: rain
    actor: other/actor
    input: {q: ฝน}
    fields: {text: [body, title]}
"""


def test_file_with_everything(tmp_path: Path) -> None:
    """Defaults, a query's own filters over them, fields, an actor of its own; dates stay as typed."""
    path = tmp_path / "queries.yaml"
    path.write_text(FULL, encoding="utf-8")

    food, rain = load_queries(path)

    assert (food.name, food.actor, food.max_items) == ("food", "maker/tweets", 500)
    assert food.input == {"searchTerms": ["อาหาร"], "maxItems": 500, "start": "2024-01-01"}
    assert food.rules.filters == Filters(min_likes=5, language="th", no_links=True, max_age_days=0.5)
    assert (rain.actor, rain.rules.filters.min_likes) == ("other/actor", 1)
    assert rain.rules.fields == {"likes": ("stats.likes",), "text": ("body", "title")}


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("actor: maker/tweets\n", "", 4, "actor: apidojo/tweet-scraper"),
        ("actor: maker/tweets", "actor: a b", 1, "named as on its page"),
        ("min_likes: 1", "min_like: 1", 2, "Did you mean min_likes?"),
        ("min_likes: 1", "min_likes: -1", 2, "whole number"),
        ("min_likes: 1", "min_likes: 1.5", 2, "whole number"),
        ("min_likes: 1", "min_likes: yes", 2, "whole number"),
        ("language: th", "language: 3", 2, "code of a language"),
        ("no_links: true", "no_links: 1", 7, "true or false"),
        ("max_age_days: 0.5", "max_age_days: .inf", 7, "number from 0 on"),
        ("likes: stats.likes", "likes: []", 3, "where the actor puts it"),
        ("likes: stats.likes", "heart: x", 3, "'heart' is not known here"),
        ("name: rain", "name: food", 9, "is taken"),
        ("name: rain", "name: 7", 9, "needs a name"),
        ("- name: rain\n    actor", "- actor", 9, "needs a name"),
        ("input: {q: ฝน}", "input: q", 11, "input of its run"),
        ("input: {q: ฝน}", "inputs: {q: ฝน}", 11, "Did you mean input?"),
        ("q: ฝน", "q: .nan", 11, "no number that can be sent"),
        ("q: ฝน", "3: ฝน", 11, "needs quotes"),
        ("q: ฝน", "q: !!binary aGk=", 11, "put it in quotes"),
        ("max_items: 500", "max_items: 0", 8, "from 1 on"),
        ("max_items: 500", "max_items: [", 9, "no YAML"),
        ("    max_items: 500", "    name: food", 8, "stands twice"),
        ("defaults: {min_likes: 1, language: th}", "defaults: 3", 2, "`key: value` lines"),
    ],
)
def test_mistake_is_named_with_its_line(old: str, new: str, line: int, told: str) -> None:
    """And with what to type; nothing is bought."""
    assert old in FULL

    with pytest.raises(UsageError) as refused:
        parse_queries(FULL.replace(old, new, 1))

    assert f"queries.yaml, line {line}: " in str(refused.value)
    assert told in str(refused.value)


@pytest.mark.parametrize("text", ["", "queries:\n", "queries: []\n", "- a\n", "queries: 3", "a: &a [*a]"])
def test_file_without_queries(text: str) -> None:
    """It shows what one looks like, or what may stand there."""
    with pytest.raises(UsageError, match=r"queries"):
        parse_queries(text)


def test_file_that_can_not_be_read(tmp_path: Path) -> None:
    """Missing, no text, or something else altogether."""
    with pytest.raises(UsageError, match="There is no queries file"):
        load_queries(tmp_path / "no.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="can't be read"):
        load_queries(tmp_path / "binary")
    (tmp_path / "large").write_bytes(b"#" * 2**21)
    with pytest.raises(UsageError, match="no queries file"):
        load_queries(tmp_path / "large")


def test_tags_that_run_code_are_refused() -> None:
    """It is data."""
    with pytest.raises(UsageError, match="line 1"):
        parse_queries("queries: !!python/object/apply:os.getcwd []")


def test_fingerprint_does_not_depend_on_spelling() -> None:
    """The order of names, and 5 or 5.0, as it comes back from software with one kind of number."""
    assert fingerprint({"a": 5, "b": [1.0]}) == fingerprint({"b": [1], "a": 5.0})
    assert fingerprint({"a": 5}) != fingerprint({"a": 6})
    assert fingerprint({"a": ["x", "y"]}) != fingerprint({"a": ["y", "x"]})


def test_rules_survive_json() -> None:
    """They are kept beside the items."""
    rules = parse_queries(FULL)[0].rules

    assert Rules.of_json(rules.as_json()) == rules
