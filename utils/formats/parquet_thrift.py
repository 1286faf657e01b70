"""What Parquet's footers and page headers say, read by ourselves: Thrift's compact protocol, as far as it is needed.

pyarrow ends the process where some fields of a footer contradict each other and one asks it for a column's
offsets; and it shows nothing of a page. Functions, not objects, as a dataset has millions of these fields: each takes
the bytes and a place in them, and returns the place behind what it read. IndexError where the bytes end before.
"""

from dataclasses import dataclass
from typing import Final

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_INTEGERS: Final = (_I32, _I64, _I16)
_FIXED_BYTES: Final = {_BYTE: 1, _DOUBLE: 8}
_DICTIONARY_PAGE: Final = 2
_MAX_DEPTH: Final = 16
_MAX_VARINT_BITS: Final = 63


class NotThrift(Exception):
    """These bytes are not what they should be."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Where the pages of one column in one row group stand."""

    first_page: int
    size_bytes: int
    unpacked_bytes: int
    """By the footer alone, which may say anything."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    rows: int
    columns: tuple[ColumnChunk, ...]


@dataclass(frozen=True, slots=True)
class PageHeader:
    """A page's header, and what it says of the page behind it."""

    end: int
    """Where it ends."""
    unpacked_bytes: int
    packed_bytes: int
    is_dictionary: bool


def read_row_groups(footer: bytes) -> tuple[RowGroup, ...]:
    """The row groups that a footer lists. NotThrift where it is damaged."""
    try:
        return _row_groups(footer)
    except IndexError:
        raise NotThrift("the footer is cut short") from None


def read_page_header(content: bytes, at: int) -> PageHeader:
    """The page header at `at`. IndexError where it goes on behind the end, NotThrift where it is damaged."""
    page_type, unpacked, packed = 1, 2, 3
    told, at = _integers(content, at, _I32, {page_type: -1, unpacked: -1, packed: -1})
    if min(told.values()) < 0:
        raise NotThrift("the header of a page is damaged")
    return PageHeader(at, told[unpacked], told[packed], told[page_type] == _DICTIONARY_PAGE)


def _row_groups(footer: bytes) -> tuple[RowGroup, ...]:
    groups: list[RowGroup] = []
    at = number = 0
    while True:
        kind, number, at = _field(footer, at, number)
        if not kind:
            return tuple(groups)
        if (kind, number) == (_LIST, 4):
            count, at = _structs(footer, at)
            for _ in range(count):
                group, at = _row_group(footer, at)
                groups.append(group)
        else:
            at = _skip(footer, at, kind)


def _row_group(footer: bytes, at: int) -> tuple[RowGroup, int]:
    rows = number = 0
    columns: list[ColumnChunk] = []
    while True:
        kind, number, at = _field(footer, at, number)
        if not kind:
            return RowGroup(rows, tuple(columns)), at
        if (kind, number) == (_LIST, 1):
            count, at = _structs(footer, at)
            for _ in range(count):
                column, at = _column_chunk(footer, at)
                columns.append(column)
        elif (kind, number) == (_I64, 3):
            rows, at = _integer(footer, at)
        else:
            at = _skip(footer, at, kind)


def _column_chunk(footer: bytes, at: int) -> tuple[ColumnChunk, int]:
    unpacked, size, data_page, dictionary_page = 6, 7, 9, 11
    chunk, number = ColumnChunk(0, 0, 0), 0
    while True:
        kind, number, at = _field(footer, at, number)
        if not kind:
            return chunk, at
        if (kind, number) == (_STRUCT, 3):
            told, at = _integers(footer, at, _I64, {unpacked: 0, size: 0, data_page: 0, dictionary_page: 0})
            has_dictionary = 0 < told[dictionary_page] < told[data_page]
            first_page = told[dictionary_page if has_dictionary else data_page]
            chunk = ColumnChunk(first_page, told[size], told[unpacked])
        else:
            at = _skip(footer, at, kind)


def _integers(content: bytes, at: int, kind: int, told: dict[int, int]) -> tuple[dict[int, int], int]:
    """A struct's fields of one kind of integers, as far as `told` has their numbers, the last one of each."""
    number = 0
    while True:
        found, number, at = _field(content, at, number)
        if not found:
            return told, at
        if found == kind and number in told:
            told[number], at = _integer(content, at)
        else:
            at = _skip(content, at, found)


def _field(content: bytes, at: int, before: int) -> tuple[int, int, int]:
    """(kind, number, where its value begins) of a field of a struct; kind 0 where the struct ends."""
    head = content[at]
    if head > 0x0F:
        return head & 0x0F, before + (head >> 4), at + 1
    number, at = _integer(content, at + 1) if head else (before, at + 1)
    return head, number, at


def _structs(content: bytes, at: int) -> tuple[int, int]:
    """(how many, where the first one begins) of a list of structs."""
    kind, count, at = _list(content, at)
    if count and kind != _STRUCT:
        raise NotThrift("a list of something else")
    return count, at


def _list(content: bytes, at: int) -> tuple[int, int, int]:
    """(kind, count, where the first one begins) of a list's items."""
    head = content[at]
    count, at = _varint(content, at + 1) if head >> 4 == 0x0F else (head >> 4, at + 1)
    return head & 0x0F, count, at


def _skip(content: bytes, at: int, kind: int, depth: int = 0) -> int:
    """Pass over a value of a kind."""
    if kind in _INTEGERS:
        while content[at] >= 0x80:
            at += 1
        return at + 1
    if kind == _BINARY:
        length, at = _varint(content, at)
        return _within(content, at + length)
    if depth > _MAX_DEPTH:
        raise NotThrift("nested too deeply")
    if kind == _STRUCT:
        while inner := content[at] & 0x0F:
            at = at + 1 if content[at] > 0x0F else _integer(content, at + 1)[1]
            at = _skip(content, at, inner, depth + 1)
        return at + 1
    if kind in (_LIST, _SET):
        return _skip_list(content, at, depth)
    if kind in _FIXED_BYTES:
        return _within(content, at + _FIXED_BYTES[kind])
    if kind in (_TRUE, _FALSE):  # in a struct, these are their own values
        return at
    raise NotThrift("an unknown kind of value")


def _skip_list(content: bytes, at: int, depth: int) -> int:
    kind, count, at = _list(content, at)
    if kind in (_TRUE, _FALSE):
        return _within(content, at + count)
    for _ in range(count):
        at = _skip(content, at, kind, depth + 1)
    return at


def _within(content: bytes, at: int) -> int:
    if at > len(content):
        raise IndexError
    return at


def _integer(content: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(content, at)
    return value >> 1 ^ -(value & 1), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number without a sign."""
    value = content[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, _MAX_VARINT_BITS + 1, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotThrift("a number without an end")
