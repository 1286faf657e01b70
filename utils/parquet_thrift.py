"""What Parquet's footers and page headers say, read by ourselves: Thrift's compact protocol, as far as it is needed.

pyarrow ends the process where some fields of a footer contradict each other and one asks it for a column's
offsets; and it shows nothing of a page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_FIXED_BYTES: Final = {_BYTE: 1, _DOUBLE: 8}
_DEEPEST: Final = 16
_LONGEST_VARINT_BITS: Final = 63
_DICTIONARY_PAGE: Final = 2


class NotThrift(Exception):
    """These bytes are not what they should be."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Where the pages of one column in one row group stand."""

    first_page: int
    size_bytes: int


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
    groups: tuple[RowGroup, ...] = ()
    reader = _Reader(footer, 0)
    try:
        for kind, number in reader.fields():
            if (kind, number) == (_LIST, 4):
                groups = tuple(_row_group(reader) for _ in reader.structs())
            else:
                reader.skip(kind)
    except IndexError:
        raise NotThrift("the footer is cut short") from None
    return groups


def read_page_header(content: bytes, at: int) -> PageHeader:
    """The page header at `at`. IndexError where it goes on behind the end, NotThrift where it is damaged."""
    page_type, unpacked, packed = 1, 2, 3
    told = {page_type: -1, unpacked: -1, packed: -1}
    reader = _Reader(content, at)
    for kind, number in reader.fields():
        if kind == _I32 and number in told:
            told[number] = reader.integer()
        else:
            reader.skip(kind)
    if min(told.values()) < 0:
        raise NotThrift("the header of a page is damaged")
    return PageHeader(reader.at, told[unpacked], told[packed], told[page_type] == _DICTIONARY_PAGE)


def _row_group(reader: "_Reader") -> RowGroup:
    rows, columns = 0, list[ColumnChunk]()
    for kind, number in reader.fields():
        if (kind, number) == (_LIST, 1):
            columns += [_column_chunk(reader) for _ in reader.structs()]
        elif (kind, number) == (_I64, 3):
            rows = reader.integer()
        else:
            reader.skip(kind)
    return RowGroup(rows, tuple(columns))


def _column_chunk(reader: "_Reader") -> ColumnChunk:
    chunk = ColumnChunk(0, 0)
    for kind, number in reader.fields():
        if (kind, number) == (_STRUCT, 3):
            chunk = _column_metadata(reader)
        else:
            reader.skip(kind)
    return chunk


def _column_metadata(reader: "_Reader") -> ColumnChunk:
    size, data_page, dictionary_page = 7, 9, 11
    told = {size: 0, data_page: 0, dictionary_page: 0}
    for kind, number in reader.fields():
        if kind == _I64 and number in told:
            told[number] = reader.integer()
        else:
            reader.skip(kind)
    first = told[data_page]
    if 0 < told[dictionary_page] < first:
        first = told[dictionary_page]
    return ColumnChunk(first, told[size])


class _Reader:
    """Values one after the other. IndexError at the end of the bytes."""

    def __init__(self, content: bytes, at: int) -> None:
        self.at = at
        self._content = content

    def fields(self) -> Iterator[tuple[int, int]]:
        """(kind, number) of each field of a struct; its value has to be taken before the next one."""
        number = 0
        while kind_and_step := self._byte():
            step = kind_and_step >> 4
            number = number + step if step else self.integer()
            yield kind_and_step & 0x0F, number

    def structs(self) -> Iterator[None]:
        """The structs of a list, each to be taken before the next one."""
        kind, count = self._list()
        if count and kind != _STRUCT:
            raise NotThrift("a list of something else")
        for _ in range(count):
            yield

    def integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value of a kind."""
        if depth > _DEEPEST:
            raise NotThrift("nested too deeply")
        if kind in (_I16, _I32, _I64):
            self._varint()
        elif kind in _FIXED_BYTES:
            self._pass(_FIXED_BYTES[kind])
        elif kind == _BINARY:
            self._pass(self._varint())
        elif kind in (_LIST, _SET):
            self._skip_list(depth)
        elif kind == _STRUCT:
            for inner, _ in self.fields():
                self.skip(inner, depth + 1)
        elif kind not in (_TRUE, _FALSE):  # in a struct, these are their own values
            raise NotThrift("an unknown kind of value")

    def _skip_list(self, depth: int) -> None:
        kind, count = self._list()
        if kind in (_TRUE, _FALSE):
            self._pass(count)
            return
        for _ in range(count):
            self.skip(kind, depth + 1)

    def _list(self) -> tuple[int, int]:
        """(kind, count) of a list's items."""
        header = self._byte()
        count = header >> 4
        return header & 0x0F, self._varint() if count == 0x0F else count

    def _pass(self, count: int) -> None:
        self.at += count
        if self.at > len(self._content):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > _LONGEST_VARINT_BITS:
                raise NotThrift("a number without an end")

    def _byte(self) -> int:
        byte = self._content[self.at]
        self.at += 1
        return byte
