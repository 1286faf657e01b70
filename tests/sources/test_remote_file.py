"""Streaming: source files read off the network, healed where it breaks, with nothing written to disk."""

import io
import os
import random
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processors.readers.parquet import read_parquet
from processors.readers.spec import Columns
from tests.hub_server import HubServer
from tests.hub_sources import (
    ARCHIVE,
    ARCHIVE_BYTES,
    REPO,
    access,
    all_files,
    bytes_sent,
    downloads,
    make_source,
    noise,
)
from utils.errors import Interrupted, SourceError
from utils.formats.parquet_thrift import ColumnChunk, RowGroup
from utils.sources.hub import Patience
from utils.sources.remote_file import RemoteFile
from utils.sources.source_files import SourceAccess, open_source


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with one public source, where `HF_ENDPOINT` points."""
    with HubServer(tmp_path / "hub") as server:
        server.add_dataset(REPO, make_source(tmp_path / "source"))
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def streaming(tmp_path: Path) -> SourceAccess:
    """Streamed access, with a cache folder that it must never use."""
    return access(tmp_path / "cache", streaming=True)


def test_streaming_reads_a_file_once_and_writes_nothing(
    hub: HubServer, streaming: SourceAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte is fetched twice, and none touches a disk: not the cache, not a temporary folder, not HF_HOME."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    places = [temporary, streaming.cache_dir, Path(os.environ["HF_HOME"])]
    before = all_files(*places)

    with open_source(REPO, REPO, streaming, None).open(ARCHIVE) as file:
        pieces = list(iter(lambda: file.read(10_000), b""))
        assert file.read() == b""

    assert b"".join(pieces) == noise(0, ARCHIVE_BYTES)
    assert bytes_sent(hub) == ARCHIVE_BYTES
    assert all_files(*places) == before
    assert not streaming.cache_dir.exists()


def test_a_large_file_is_asked_for_in_growing_windows(hub: HubServer, streaming: SourceAccess) -> None:
    """A jump costs little, reading on few requests: windows grow."""
    with open_source(REPO, REPO, streaming, None).open(ARCHIVE) as file:
        while file.read(100_000):
            pass

    assert downloads(hub) == ["bytes=0-1048575", f"bytes=1048576-{ARCHIVE_BYTES - 1}"]


def test_streaming_seeks_like_a_local_file(hub: HubServer, streaming: SourceAccess) -> None:
    """Any order of seeks and reads, back and forth and past the end, gives a local file's bytes."""
    local = io.BytesIO(noise(0, ARCHIVE_BYTES))
    chance = random.Random(7)

    with open_source(REPO, REPO, streaming, None).open(ARCHIVE) as file:
        for _ in range(60):
            move = chance.choice(
                [
                    (chance.randrange(ARCHIVE_BYTES + 10), 0),
                    (chance.randrange(70_000), 1),
                    (-chance.randrange(90_000), 2),
                ]
            )
            size = chance.choice([0, 1, 500, 60_000, 1_500_000])

            assert file.seek(*move) == local.seek(*move)
            assert file.read(size) == local.read(size)
            assert file.tell() == local.tell()


def test_an_archive_is_streamed_member_by_member(hub: HubServer, tmp_path: Path, streaming: SourceAccess) -> None:
    """tarfile reads a .tar.gz off the network in one pass."""
    clips = {f"0/{number}/0-{number}-1.wav": noise(number, 30_000) for number in range(40)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, content in clips.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    hub.add_dataset(REPO, make_source(tmp_path / "source", {ARCHIVE: packed.getvalue()}))
    hub.fault("reset_body", step="cdn")

    with (
        open_source(REPO, REPO, streaming, None).open(ARCHIVE) as file,
        tarfile.open(fileobj=file, mode="r|gz") as tar,
    ):
        read = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]

    assert read == clips


def test_one_row_group_is_read_without_the_others(hub: HubServer, tmp_path: Path, streaming: SourceAccess) -> None:
    """Parquet opens at the row group: the footer and that group are fetched, not the gigabytes before it."""
    audio = [noise(number, 40_000) for number in range(200)]
    pq.write_table(pa.table({"audio": audio}), tmp_path / "source/train.parquet", row_group_size=10, compression="none")
    hub.add_dataset(REPO, tmp_path / "source")

    with open_source(REPO, REPO, streaming, None).open("train.parquet") as file:
        group = pq.ParquetFile(file).read_row_group(15)

    assert group["audio"].to_pylist() == audio[150:160]
    assert bytes_sent(hub) < 3_000_000


def test_columns_in_turns_do_not_end_each_others_requests(
    hub: HubServer, tmp_path: Path, streaming: SourceAccess
) -> None:
    """Text that lies behind the audio of each row group is read between its rows; the audio goes on coming."""
    rows = [{"audio": {"bytes": noise(number, 100_000), "path": f"{number}.wav"}, "text": "ก"} for number in range(300)]
    path = tmp_path / "source/train.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=50, compression="none", use_dictionary=False)
    hub.add_dataset(REPO, tmp_path / "source")
    source = open_source(REPO, REPO, streaming, None)

    clips = list(read_parquet(source, ["train.parquet"], Columns(("audio",), ("text",)), {"index": 0}))

    assert [clip.audio for clip in clips] == [row["audio"]["bytes"] for row in rows]  # type: ignore[index]
    assert [clip.key for clip in clips] == [str(number) for number in range(300)]
    assert bytes_sent(hub) < 1.05 * path.stat().st_size
    assert source.bytes_read < 1.05 * path.stat().st_size
    assert len(downloads(hub)) <= 11  # its end, whether paths are names, the text of 6 row groups, 3 windows of audio


@pytest.mark.parametrize("border", [0, 1, 100, 255, 256])
def test_small_row_groups_are_streamed_too(
    hub: HubServer, tmp_path: Path, streaming: SourceAccess, monkeypatch: pytest.MonkeyPatch, border: int
) -> None:
    """Groups that could be held whole: their audio comes in one go all the same, their small columns in one request.
    Wherever the pieces that the network brings end: here `border` bytes behind the beginning of each group's audio,
    whose first 256 bytes are looked at before they are read."""
    stream = RemoteFile.stream

    def in_pieces(file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        content = b"".join(stream(file, start, end))
        ends = [at for at in (group.column(0).data_page_offset + border for group in groups) if start < at < end]
        for first, last in pairwise([start, *ends, end]):
            yield content[first - start : last - start]

    monkeypatch.setattr(RemoteFile, "stream", in_pieces)
    audio = {"audio": {"bytes": noise(0, 10_000), "path": "a.wav"}}
    rows = [{**audio, **{f"text{number}": f"{row}" for number in range(6)}} for row in range(1000)]
    path = tmp_path / "source/train.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=50, compression="none", use_dictionary=False)
    footer = pq.read_metadata(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    hub.add_dataset(REPO, tmp_path / "source")
    source = open_source(REPO, REPO, streaming, None)
    columns = Columns(("audio",), ("text0",), metadata=("text2", "text4"))

    clips = list(read_parquet(source, ["train.parquet"], columns, {"index": 0}))

    assert [clip.transcript for clip in clips] == [str(row) for row in range(1000)]
    assert len(downloads(hub)) <= 1 + 1 + 20 + 3  # the end, the paths, what is small in each group, windows
    assert bytes_sent(hub) < 1.05 * path.stat().st_size


@pytest.mark.parametrize(("first_page", "size"), [(-1_000_000, 10), (-(10**12), 0), (4, -1), (4, 10**12), (10**12, 10)])
@pytest.mark.parametrize("is_streamed", [True, False])
def test_columns_outside_of_the_file_are_not_asked_for(
    *, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_page: int, size: int, is_streamed: bool
) -> None:
    """A footer that lies about where its columns are is damage, before any byte of them is read."""
    table = pa.table({"audio": [noise(0, 1000)], "text": ["ก"]})
    pq.write_table(table, tmp_path / "source/train.parquet")
    hub.add_dataset(REPO, tmp_path / "source")
    source = open_source(REPO, REPO, access(tmp_path / "cache", streaming=is_streamed), None)
    group = RowGroup(1, (ColumnChunk(4, 10, 10), ColumnChunk(first_page, size, size)))
    monkeypatch.setattr("utils.formats.parquet_file.read_row_groups", lambda footer: (group,))

    with pytest.raises(SourceError, match="outside of the file"):
        list(read_parquet(source, ["train.parquet"], Columns(("audio",), ("text",)), {"index": 0}))

    assert len(downloads(hub)) == 1


@pytest.mark.parametrize("action", ["reset_body", "cut_body", "lost_before", "status"])
def test_a_broken_connection_heals_where_it_broke(hub: HubServer, streaming: SourceAccess, action: str) -> None:
    """Read on with the first byte that is missing; the reader notices nothing."""
    rule = hub.fault(action, step="cdn", times=3)

    with open_source(REPO, REPO, streaming, None).open(ARCHIVE) as file:
        content = file.read()

    assert rule.struck == 3
    assert content == noise(0, ARCHIVE_BYTES)
    starts = [int(asked.removeprefix("bytes=").split("-")[0]) for asked in downloads(hub)]
    assert starts == sorted(starts)
    if action == "cut_body":  # a reset loses what was on its way, a cut does not
        assert bytes_sent(hub) == ARCHIVE_BYTES


def test_an_address_that_has_expired_is_asked_for_again(hub: HubServer, streaming: SourceAccess) -> None:
    """Large files lie behind signed addresses, which last minutes: a 403 there says nothing of the token."""
    rule = hub.fault("status", step="cdn", status=403, times=2)

    with open_source(REPO, REPO, streaming, None).open(ARCHIVE) as file:
        assert file.read() == noise(0, ARCHIVE_BYTES)

    assert rule.struck == 2


def test_an_address_that_is_refused_for_ever_is_told(hub: HubServer, streaming: SourceAccess) -> None:
    """Patience ends, and the letter says what to do."""
    rule = hub.fault("status", step="cdn", status=403, times=None)
    files = open_source(REPO, REPO, streaming, None)

    with pytest.raises(SourceError, match=r"HTTP 403.*--resume"):
        files.open(ARCHIVE).read(10)

    assert rule.struck == 5


def test_patience_begins_anew_with_every_byte(hub: HubServer, streaming: SourceAccess) -> None:
    """A bad line that brings a little each time is used to the end; only one that brings nothing is given up."""
    rule = hub.fault("cut_body", step="cdn", times=6)
    impatient = replace(streaming, patience=Patience(tries=2, first_wait_s=0.001))

    with open_source(REPO, REPO, impatient, None).open(ARCHIVE) as file:
        content = file.read()

    assert rule.struck == 6
    assert content == noise(0, ARCHIVE_BYTES)


def test_a_stalled_connection_heals(hub: HubServer, streaming: SourceAccess) -> None:
    """A server that falls silent in the middle of a file is given up after the timeout, and asked again."""
    rule = hub.fault("stall_body", step="cdn")

    with open_source(REPO, REPO, replace(streaming, timeout_s=0.3), None).open(ARCHIVE) as file:
        content = file.read()

    assert rule.struck == 1
    assert content == noise(0, ARCHIVE_BYTES)


def test_patience_ends(hub: HubServer, streaming: SourceAccess) -> None:
    """A Hub that does nothing but fail is an error of the source, not an endless loop."""
    files = open_source(REPO, REPO, streaming, None)
    rule = hub.fault("status", step="cdn", status=500, times=None)

    with pytest.raises(SourceError, match=r"could not be reached.*HTTP 500"), files.open(ARCHIVE) as file:
        file.read()

    assert rule.struck == streaming.patience.tries


def test_a_stop_is_heard_while_waiting_for_the_hub(hub: HubServer, streaming: SourceAccess) -> None:
    """Ctrl-C during an outage ends the wait, however long it would have been."""
    files = open_source(
        REPO, REPO, replace(streaming, patience=Patience(first_wait_s=3600), stop_requested=lambda: True), None
    )
    hub.fault("lost_before", step="cdn", times=None)

    with pytest.raises(Interrupted), files.open(ARCHIVE) as file:
        file.read()


@pytest.mark.parametrize(("status", "first"), [(200, 0), (206, 70_000)])
def test_a_server_that_sends_more_than_it_was_asked_for_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch, status: int, first: int
) -> None:
    """Asked for a part, it sends the whole, or all from there on: only the part is taken."""

    class WholeFiles(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(900_000 - first))
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(noise(3, 900_000)[first:])

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), WholeFiles) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")

        part = b"".join(RemoteFile(REPO, "main", "a.tsv", 900_000).stream(70_000, 90_000))
        server.shutdown()

    assert part == noise(3, 900_000)[70_000:90_000]


def test_no_byte_before_the_first_is_asked_for() -> None:
    """A file's footer may lie about where things are; a request for what no file has would never end."""
    with pytest.raises(ValueError, match="no byte -1"):
        next(RemoteFile(REPO, "main", "a.tsv", 900_000).stream(-1, 10))
