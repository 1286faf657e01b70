"""Whether a value that was read from JSON is of the types that its dataclass declares.

Python does not look. A count that is text gets through a whole run, to fail or to be published somewhere else.
"""

import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from utils.rows.printable import shown

MAX_COUNT = 2**63 - 1
"""The largest number that is a count of anything."""


def check_types(value: object, kind: Any, name: str) -> None:
    """ValueError, naming the place, where `value` (called `name`) or a part of it is not of the type `kind`.

    Known are dataclasses, tuples, mappings, unions and plain classes; a bool is no number, infinity is none.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if origin in (Union, UnionType):
        _check_any(value, arguments, name)
    elif origin is tuple:
        _check_tuple(value, arguments, name)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        _check_mapping(value, arguments, name)
    elif not _is_of(value, kind):
        raise ValueError(f"{shown(name)} is {shown(repr(value))}, not {getattr(kind, '__name__', kind)}")
    elif isinstance(kind, type) and is_dataclass(kind):
        for field, of_field in _hints(kind).items():
            check_types(getattr(value, field), of_field, f"{name}.{field}")


def _is_of(value: object, kind: Any) -> bool:
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_COUNT
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)


def _check_any(value: object, kinds: tuple[Any, ...], name: str) -> None:
    problem = ""  # its words alone: an error that is kept holds all frames on its way, and what they hold, in a cycle
    for kind in kinds:
        try:
            check_types(value, kind, name)
            return
        except ValueError as error:
            problem = str(error)
    raise ValueError(problem)


def _check_tuple(value: object, kinds: tuple[Any, ...], name: str) -> None:
    if not isinstance(value, tuple):
        raise ValueError(f"{shown(name)} is {shown(repr(value))}, not a list")
    wanted = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
    if len(wanted) != len(value):
        raise ValueError(f"{shown(name)} has {len(value)} items, not {len(wanted)}")
    for at, (item, kind) in enumerate(zip(value, wanted, strict=True)):
        check_types(item, kind, f"{name}[{at}]")


def _check_mapping(value: object, kinds: tuple[Any, ...], name: str) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown(name)} is {shown(repr(value))}, not an object")
    for key, item in value.items():
        check_types(key, kinds[0], f"a key of {name}")
        check_types(item, kinds[1], f"{name}.{key}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
