"""Parquet files of others, read in bounded memory whatever they claim of themselves.

Arrow believes a file: it makes room for what a page says it unpacks to, and for every entry that a footer lists.
So both are looked at first. The footer by its size: at worst an entry of four bytes becomes an object of a kilobyte.
Pages on their way: the reader's bytes pass through `_WatchedFile`, which follows the headers of the pages as Arrow
will, and refuses a page before Arrow has seen its header. What is refused raises `pa.ArrowInvalid`, like damage.

What is left is Parquet's own unit: a page is held whole, packed and unpacked.
"""

import io
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, islice, pairwise
from types import TracebackType
from typing import BinaryIO, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from utils.formats.parquet_thrift import ColumnChunk, NotThrift, PageHeader, RowGroup, read_page_header, read_row_groups
from utils.sources.remote_file import PASSED_OVER_BYTES, RemoteStream

MAX_FOOTER_BYTES: Final = 2**20
"""Two thousand row groups of audio and text. Arrow takes up to 230 times as much memory."""
SMALL_PAGE_BYTES: Final = 24 * 1000**2
"""A page that unpacks to no more than this is never refused."""
MAX_PAGE_BYTES: Final = 512 * 1000**2
MAX_PAGE_RATIO: Final = 8
"""How far a page that is not small may unpack: sound packs to a half, text to a fifth."""
MAX_ROWS_A_BYTE: Final = 8
"""Nulls cost nothing: without a bound a file of 200 bytes may hold a million million of them."""
MAX_BATCH_BYTES: Final = 64 * 1000**2
"""Of values that a dictionary repeats: whoever takes a batch makes up to four copies of them on the way."""
ALWAYS_UNPACKED_BYTES: Final = 1000**3
MAX_UNPACKED_RATIO: Final = 100
"""Behind its first GB a file is refused where more comes out of it: one value of a dictionary in every row, say."""
MAX_HEADER_BYTES: Final = 16 * 2**20
"""Of a page: as far as Arrow itself looks."""

AT_ONCE_BYTES: Final = 64 * 1000**2
"""Unpacked: what pages may hold that are read for several rows at a time."""

END_BYTES: Final = 2**16
"""Of a remote file, read at once: as many as Arrow asks for first."""
HELD_BYTES: Final = PASSED_OVER_BYTES
"""Of small columns of a remote file, of the row groups that are being read."""
_BETWEEN_BYTES: Final = 2**16
"""Between two of them: what is asked for with them rather than by a request more."""

WHOLE_BYTES: Final = 24 * 1000**2
"""What is read at most of a row group whose columns come in one piece each. (A resume reads it again.)"""
_BUFFER_BYTES: Final = 2**20
"""How much of other columns is read at a time."""
_TAIL_BYTES: Final = 8
_HEADER_BYTES: Final = 256
"""Of a dictionary's page, which has a short one."""


class TooMuchAtOnce(Exception):
    """The pages of several rows hold more than `AT_ONCE_BYTES`: read one row at a time."""


class ParquetFile:
    """A Parquet file that is open for reading; close it. Raises `pa.ArrowInvalid` where it is damaged or refused."""

    def __init__(self, stream: BinaryIO) -> None:
        self._size_bytes = stream.seek(0, os.SEEK_END)
        self._unpacked_bytes = 0
        self._file = _WatchedFile(stream, self._size_bytes)
        self._file.hold_end()
        self._groups = _checked_groups(self._file, self._size_bytes)
        self._parquet = pq.ParquetFile(self._file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        self.schema = self._parquet.schema_arrow
        leaves = len(self._parquet.schema)
        if self._parquet.num_row_groups != len(self._groups) or any(len(one.columns) != leaves for one in self._groups):
            raise pa.ArrowInvalid("its footer can be read in two ways")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parquet.close()

    @property
    def groups(self) -> int:
        """The number of row groups."""
        return len(self._groups)

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self._groups)

    def rows_in(self, group: int) -> int:
        """The rows of a row group."""
        return self._groups[group].rows

    def unpacked_bytes(self, group: int, columns: Sequence[str]) -> int:
        """What these columns of a row group unpack to, by the footer: no value in them is larger."""
        return sum(chunk.unpacked_bytes for chunk in self._chunks_of([group], columns))

    def batches(
        self, groups: Sequence[int], columns: Sequence[str], most_rows: int, is_bounded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of these row groups, these columns of them, `most_rows` at a time at most.

        Fewer where a dictionary is large: one value of it may stand in every row. With `is_bounded` raises
        TooMuchAtOnce before more is unpacked for one batch than is good.
        """
        chunks = self._chunks_of(groups, columns)
        self._file.hold(chunks)
        rows = most_rows if most_rows == 1 else self._file.rows_to_read(chunks, most_rows)
        most_bytes = AT_ONCE_BYTES if is_bounded and rows > 1 else None

        def read(parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
            self._file.watch(chunks, most_bytes)
            yield from self._bounded(
                parquet.iter_batches(rows, row_groups=list(groups), columns=list(columns), use_threads=False)
            )

        is_whole = rows > 1 and self._are_small(chunks)
        given = 0
        try:
            for batch in read(self._whole if is_whole else self._parquet):
                given += 1
                yield batch
            return
        except pa.ArrowInvalid:
            if not is_whole:
                raise
        # A column that comes in one piece is refused in one piece: what is sound before the damage is read so. Not in
        # the handler: its error holds what was read so far.
        yield from islice(read(self._parquet), given, None)

    def _bounded(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same, until they are more than the file can hold."""
        for batch in batches:
            self._unpacked_bytes += batch.nbytes
            if self._unpacked_bytes > ALWAYS_UNPACKED_BYTES + MAX_UNPACKED_RATIO * self._size_bytes:
                raise pa.ArrowInvalid(f"its {self._size_bytes:,} bytes hold more than {self._unpacked_bytes:,}")
            yield batch
            self._file.unpacked_bytes = 0

    def read_group(self, group: int, columns: Sequence[str]) -> pa.Table:
        """All rows of a row group, these columns of it. May be repeated after an error of the stream."""
        self._file.watch(self._chunks_of([group], columns))
        return self._parquet.read_row_group(group, columns=list(columns), use_threads=False)

    def _chunks_of(self, groups: Iterable[int], columns: Sequence[str]) -> list[ColumnChunk]:
        """What is going to be read."""
        leaves = [self._parquet.schema.column(number).path for number in range(len(self._parquet.schema))]
        wanted = [
            number
            for number, leaf in enumerate(leaves)
            if any(leaf == column or leaf.startswith(f"{column}.") for column in columns)
        ]
        with_rows = (self._groups[group].columns for group in groups if self._groups[group].rows)
        return [of_group[number] for of_group in with_rows for number in wanted]

    def _are_small(self, chunks: Sequence[ColumnChunk]) -> bool:
        """Whether these are at hand, and may be held at a time, packed and unpacked."""
        packed = sum(chunk.size_bytes for chunk in chunks)
        unpacked = sum(chunk.unpacked_bytes for chunk in chunks)
        return not self._file.is_streamed and max(packed, unpacked) <= WHOLE_BYTES

    @cached_property
    def _whole(self) -> pq.ParquetFile:
        """The same, but a column is read in one piece, which Arrow then need not copy."""
        return pq.ParquetFile(self._file, metadata=self._parquet.metadata, buffer_size=0, pre_buffer=False)


def _checked_groups(stream: "_WatchedFile", size_bytes: int) -> tuple[RowGroup, ...]:
    """The row groups by the footer, which is not too large and claims no more than the file can hold."""
    stream.seek(max(0, size_bytes - _TAIL_BYTES))
    footer_bytes = int.from_bytes(stream.read(_TAIL_BYTES)[:4], "little")
    if footer_bytes > size_bytes - _TAIL_BYTES:
        raise pa.ArrowInvalid("it ends before its footer does, or is no Parquet file")
    if footer_bytes > MAX_FOOTER_BYTES:
        raise pa.ArrowInvalid(f"its footer has {footer_bytes:,} bytes; over {MAX_FOOTER_BYTES:,} are not read")
    stream.seek(size_bytes - _TAIL_BYTES - footer_bytes)
    try:
        groups = read_row_groups(stream.read(footer_bytes))
    except NotThrift as error:
        raise pa.ArrowInvalid(f"its footer is damaged: {error}") from None
    stream.seek(0)
    rows = sum(group.rows for group in groups)
    if min((group.rows for group in groups), default=0) < 0 or rows > MAX_ROWS_A_BYTE * size_bytes:
        raise pa.ArrowInvalid(f"it claims {rows:,} rows in {size_bytes:,} bytes")
    chunks = _chunks(groups)
    if any(not 0 <= chunk.first_page <= chunk.first_page + chunk.size_bytes <= size_bytes for chunk in chunks):
        raise pa.ArrowInvalid("a column lies outside of the file")
    _refuse_overlaps(chunks)
    return groups


def _chunks(groups: Iterable[RowGroup]) -> list[ColumnChunk]:
    """All column chunks; of a row group without rows they say nothing sensible."""
    return [chunk for group in groups if group.rows for chunk in group.columns]


def _refuse_overlaps(chunks: list[ColumnChunk]) -> None:
    """Whose bytes are whose must be known to follow them; and many columns of the same bytes are many times as much."""
    in_order = sorted(chunks, key=lambda chunk: chunk.first_page)
    for before, after in pairwise(in_order):
        if before.first_page + before.size_bytes > after.first_page:
            raise pa.ArrowInvalid("its columns overlap each other")


class _WatchedFile(io.RawIOBase):
    """The file as Arrow reads it. Of each column chunk that is watched the pages are followed."""

    def __init__(self, stream: BinaryIO, size_bytes: int) -> None:
        self._stream = stream
        self._size_bytes = size_bytes
        self._at = 0
        self._held: list[tuple[int, bytes]] = []
        """(where in the file, content)."""
        self._looked = 0, b""
        """The same of what was looked at last."""
        self._starts: list[int] = []
        self._chunks: list[_Pages] = []
        self.unpacked_bytes = 0
        """Of the pages that were read, since this was set to 0."""
        self._most_bytes: int | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether it comes over the network while it is read: then nothing is asked for before it is wanted."""
        return isinstance(self._stream, RemoteStream)

    def hold_end(self) -> None:
        """Where the file is remote: have its last bytes in memory. We and Arrow look for the footer there, in steps."""
        self._hold([(max(0, self._size_bytes - END_BYTES), self._size_bytes)])

    def hold(self, chunks: Sequence[ColumnChunk]) -> None:
        """Where the file is remote: have the small ones of these in memory, and nothing else.

        Arrow reads columns in turns. A small one that lies behind a large one would otherwise end the request that
        brings the large one, and what that has on its way would come twice.
        """
        self._hold(_small_ranges(chunks))

    def _hold(self, ranges: Iterable[tuple[int, int]]) -> None:
        if isinstance(self._stream, RemoteStream):
            self._held = []  # before there are others
            self._held = [(start, self._stream.read_aside(start, end)) for start, end in ranges]

    def watch(self, chunks: Sequence[ColumnChunk], most_bytes: int | None = None) -> None:
        """Follow these column chunks from now on, and no others. They do not overlap.

        TooMuchAtOnce where `unpacked_bytes` comes to more than `most_bytes`.
        """
        self._most_bytes, self.unpacked_bytes = most_bytes, 0
        in_order = sorted(chunks, key=lambda chunk: chunk.first_page)
        self._starts = [chunk.first_page for chunk in in_order]
        self._chunks = [_Pages(chunk, self._size_bytes) for chunk in in_order]

    def rows_to_read(self, chunks: Sequence[ColumnChunk], most_rows: int) -> int:
        """How many rows to read at a time, so that they are not more than `MAX_BATCH_BYTES` by a dictionary's doing."""
        largest = max((self._dictionary_bytes(chunk) for chunk in chunks), default=0)
        return max(1, min(most_rows, MAX_BATCH_BYTES // max(1, largest)))

    def _dictionary_bytes(self, chunk: ColumnChunk) -> int:
        """The size of the dictionary that a column chunk begins with; 0 where it begins with anything else."""
        try:
            page = read_page_header(self._look(chunk.first_page, min(_HEADER_BYTES, chunk.size_bytes)), 0)
        except (IndexError, NotThrift):  # a dictionary's is short, and has no statistics
            return 0
        return page.unpacked_bytes if page.is_dictionary else 0

    def _look(self, at: int, size: int) -> bytes:
        """The bytes at a place that is read again from there: off the network, going back would cost a request."""
        if (held := self._held_at(at, size)) is not None:
            return held
        content = self._bytes_at(at, size)
        if self.is_streamed:
            self._looked = at, content
        return content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size_bytes}[whence] + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        at = self._at
        content = self._bytes_at(at, size if size >= 0 else self._size_bytes - at)
        self._at += len(content)
        if (number := bisect_right(self._starts, at) - 1) >= 0:
            self.unpacked_bytes += self._chunks[number].follow(at, content)
            if self._most_bytes is not None and self.unpacked_bytes > self._most_bytes:
                raise TooMuchAtOnce
        return content

    def _held_at(self, at: int, size: int) -> bytes | None:
        return next(
            (
                held[at - start : at - start + size]
                for start, held in self._held
                if start <= at and at + size <= start + len(held)
            ),
            None,
        )

    def _bytes_at(self, at: int, size: int) -> bytes:
        if (held := self._held_at(at, size)) is not None:
            return held
        looked_at, looked = self._looked
        if at == looked_at and self._stream.tell() == at + len(looked) <= at + size:
            return looked + self._stream.read(size - len(looked))
        if self._stream.tell() != at:
            self._stream.seek(at)
        return self._stream.read(size)


def _small_ranges(chunks: Sequence[ColumnChunk]) -> list[tuple[int, int]]:
    """(start, end) of what all column chunks but the largest take of the file, the small ones first: as many as are
    held. Neighbours come together, with what little is between them."""
    by_size = sorted(chunks, key=lambda chunk: chunk.size_bytes)
    small = by_size[:-1] if len(chunks) > 1 else by_size
    sums = accumulate(chunk.size_bytes for chunk in small)
    held = [chunk for chunk, so_far in zip(small, sums, strict=True) if so_far <= HELD_BYTES]
    ranges: list[tuple[int, int]] = []
    for chunk in sorted(held, key=lambda chunk: chunk.first_page):
        start, end = chunk.first_page, chunk.first_page + chunk.size_bytes
        if ranges and start - ranges[-1][1] <= _BETWEEN_BYTES:
            start, _ = ranges.pop()
        ranges.append((start, end))
    return ranges


class _Pages:
    """The pages of one column chunk, each with a header that tells where the next one begins."""

    def __init__(self, chunk: ColumnChunk, file_bytes: int) -> None:
        self._file_bytes = file_bytes
        self._next = chunk.first_page
        """Where the next header begins."""
        self._end = chunk.first_page + chunk.size_bytes
        self._begun = b""
        """The first bytes of that header, where it is only partly read."""

    def follow(self, at: int, content: bytes) -> int:
        """Look at every header that these bytes of the file complete; returns what those pages unpack to.

        They are read in order.
        """
        unpacked_bytes = 0
        while self._next < self._end:
            from_here = self._next + len(self._begun) - at
            if not 0 <= from_here < len(content):
                break
            header, begins = (self._begun + content[from_here:], 0) if self._begun else (content, from_here)
            try:
                page = read_page_header(header, begins)
            except IndexError:
                if len(header) - begins >= MAX_HEADER_BYTES:
                    raise pa.ArrowInvalid("the header of a page is too long") from None
                self._begun = header[begins:]
                break
            except NotThrift as error:
                raise pa.ArrowInvalid(f"a page is damaged: {error}") from None
            self._next += page.end - begins + page.packed_bytes
            if self._next > self._file_bytes:  # Arrow would make room for all of it before it reads
                raise pa.ArrowInvalid(f"a page of {page.packed_bytes:,} bytes ends behind the end of the file")
            _check_page(page)
            unpacked_bytes += page.unpacked_bytes
            self._begun = b""
        return unpacked_bytes


def _check_page(page: PageHeader) -> None:
    is_bomb = page.unpacked_bytes > max(SMALL_PAGE_BYTES, MAX_PAGE_RATIO * page.packed_bytes)
    if is_bomb or page.unpacked_bytes > MAX_PAGE_BYTES:
        raise pa.ArrowInvalid(
            f"a page of {page.packed_bytes:,} bytes claims to hold {page.unpacked_bytes:,}: not unpacked"
        )
