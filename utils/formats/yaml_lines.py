"""YAML files that people write for us: read safely, with the line of each value, so that an error can name it."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from utils.errors import UsageError
from utils.rows.printable import shown

MAX_FILE_BYTES: Final = 2**20
MAX_VALUES: Final = 200_000
"""Of a file, those behind aliases counted each time: a few lines of them can stand for billions."""
_MAX_DEPTH: Final = 50

ValuePath: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a value; of a key itself the last one ends with `:`."""
Lines: TypeAlias = dict[ValuePath, int]


def read_text(path: Path, what: str, consequence: str, example: str = "") -> str:
    """The text of a file, which messages call `what`. UsageError where it can't be read, saying `consequence`."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is no {what}: it has over {MAX_FILE_BYTES:,} bytes.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"There is no {what} {path}. {consequence} One looks like this:\n{example}") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder. {consequence} Name a {what}; one looks like this:\n{example}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UsageError(f"The {what} {path} can't be read: {why}.") from error


def parse_yaml(text: str, name: str, consequence: str) -> tuple[Any, Lines]:
    """The content of a file's text, and the line of each of its values. UsageError where it is no YAML."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines = _lines(node, name)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = error.problem or ""
        hint = ""
        if "'\\t'" in problem:
            hint = " Indent with spaces, not with tabs."
        elif "expected <block end>" in problem or "mapping values" in problem:
            hint = " Keys of one entry must stand exactly under each other, and a text with `: ` in it in quotes."
        raise UsageError(
            f"{name}, line {mark.line + 1 if mark else 1}: this is no YAML ({shown(problem)}).{hint} {consequence}"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} is no YAML ({shown(error)}). {consequence}") from error
    return content, lines


def line_of(path: ValuePath, lines: Mapping[ValuePath, int]) -> int:
    """The line of a value; of one that is not there, that of the nearest around it."""
    return next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), 1)


def unknown_key(key: object, known: Collection[str]) -> str:
    """That a key is not one of those that are `known`, and which is near it."""
    near = get_close_matches(str(key), known, n=1)
    return f"{shown(key)!r} is not known here. " + (
        f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
    )


class _Loader(yaml.SafeLoader):
    """YAML without dates: `since: 2024-01-01` stays the text that was typed."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _lines(node: yaml.Node | None, name: str) -> Lines:
    """Path of each value -> the line that it is on. Refuses a key that stands twice: YAML would take the last."""
    lines: Lines = {}
    waiting: list[tuple[ValuePath, yaml.Node]] = [((), node)] if node else []
    while waiting:
        path, at = waiting.pop()
        if path in lines or len(path) > _MAX_DEPTH:
            continue
        if len(lines) > MAX_VALUES:
            raise UsageError(f"{name} has more than {MAX_VALUES:,} values, aliases counted. Nothing was changed.")
        lines[path] = at.start_mark.line + 1
        if isinstance(at, yaml.SequenceNode):
            waiting += [((*path, index), inner) for index, inner in enumerate(at.value)]
        elif isinstance(at, yaml.MappingNode):
            for key, inner in at.value:
                if isinstance(key, yaml.ScalarNode):
                    if (*path, f"{key.value}:") in lines:
                        line = key.start_mark.line + 1
                        raise UsageError(f"{name}, line {line}: {shown(key.value)!r} stands twice. Keep one of them.")
                    lines[(*path, f"{key.value}:")] = key.start_mark.line + 1
                    waiting.append(((*path, key.value), inner))
    return lines
