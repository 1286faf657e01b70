"""Places that have no name for a file's very content: another file of its size is another one, and no index that was
made of the one is used for the other."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from fsspec.implementations.memory import MemoryFileSystem

from main import main
from tests.corpus_mirrors import tar_of, zip_of
from tests.support import tone
from tests.web_server import Answer, WebServer, file
from utils.sources.hub import Patience
from utils.sources.mirror_revision import mirror_revision
from utils.sources.remote_file import SourceChanged
from utils.sources.source_files import SourceAccess, SourceFiles
from utils.sources.url_files import UrlFiles, open_url

CONTENT = bytes(range(256)) * 20_000
OTHER = bytes([1]) + CONTENT[1:]
HINTS = [
    ({}, {}),
    ({"Last-Modified": "Tue, 01 Dec 2026 00:00:00 GMT"}, {"Last-Modified": "Tue, 01 Dec 2026 01:00:00 GMT"}),
    ({"ETag": 'W/"1"'}, {"ETag": 'W/"2"'}),
]
"""What a server says of a file and of the next one."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def opened(url: str, revision: str | None = None) -> SourceFiles:
    return open_url(url, SourceAccess(patience=Patience(tries=2, first_wait_s=0.001), timeout_s=20.0), revision)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(("before", "after"), HINTS)
def test_another_file_of_the_same_size_is_another(
    web: WebServer, before: Mapping[str, str], after: Mapping[str, str], ranges: bool
) -> None:
    """Without a strong version its content tells, or what else the server says; the same file stays the same."""
    web.answers["/a.tar"] = [file(CONTENT, ranges, **before)]
    first = opened(f"{web.url}/a.tar")
    again = opened(f"{web.url}/a.tar", first.revision)
    web.answers["/a.tar"] = [file(OTHER, ranges, **after)]

    with pytest.raises(SourceChanged, match="is not what was first read"):
        opened(f"{web.url}/a.tar", first.revision)

    assert again.as_found == first.as_found
    assert opened(f"{web.url}/a.tar").as_found != first.as_found


def test_a_change_that_no_part_shows_is_shown_by_its_time(web: WebServer) -> None:
    """Enough for this machine's indexes; a source that goes on is one whose parts are the same."""
    hidden = CONTENT[:100_000] + b"changed" + CONTENT[100_007:]
    web.answers["/a.tar"] = [file(CONTENT, **HINTS[1][0])]
    first = opened(f"{web.url}/a.tar")
    web.answers["/a.tar"] = [file(hidden, **HINTS[1][1])]

    then = opened(f"{web.url}/a.tar", first.revision)

    assert (then.revision, then.as_found == first.as_found) == (first.revision, False)


def test_a_file_replaced_while_it_is_read_is_noticed(web: WebServer) -> None:
    """Another time of the same content, as two machines behind one address tell it, is no other file."""
    (before, after) = HINTS[1]
    web.answers["/a.tar"] = [file(CONTENT, **before)]
    files = opened(f"{web.url}/a.tar")
    web.answers["/a.tar"] = [file(CONTENT, **after)]
    with files.open("a.tar") as stream:
        assert stream.read() == CONTENT

    web.answers["/a.tar"] = [file(OTHER, **after)]
    with pytest.raises(SourceChanged, match="another file than when"), files.open("a.tar") as stream:
        stream.read()


def test_a_source_begun_by_the_rule_before_goes_on(web: WebServer) -> None:
    """Its revision says less, and stays."""
    web.answers["/a.tar"] = [file(CONTENT)]
    begun = mirror_revision(["a.tar"], [len(CONTENT)], "", None)

    files = opened(f"{web.url}/a.tar", begun)

    assert files.revision == begun


def corpus(order: list[int], texts: Mapping[int, str], packed: Any) -> bytes:
    table = "path,text\n" + "".join(f"{number}.wav,{text}\n" for number, text in texts.items())
    clips = {f"{number}.wav": tone(number) for number in order}
    return bytes(packed({**clips, "train.csv": table.encode()}))


@pytest.mark.parametrize("packed", [tar_of, zip_of])
@pytest.mark.parametrize(("before", "after"), HINTS)
def test_fresh_reads_a_replaced_file_with_an_index_of_its_own(
    tmp_path: Path,
    web: WebServer,
    before: Mapping[str, str],
    after: Mapping[str, str],
    packed: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The members in another order, a text mended: each text with its own audio."""
    monkeypatch.chdir(tmp_path)
    name = "c.tar" if packed is tar_of else "c.zip"
    first = corpus([0, 1, 2], {0: "zero", 1: "one", 2: "twu"}, packed)
    then = corpus([2, 1, 0], {0: "zero", 1: "one", 2: "two"}, packed)
    assert len(first) == len(then)

    assert published(tmp_path, web, name, file(first, **before), "one") == {"zero": 0, "one": 1, "twu": 2}
    assert published(tmp_path, web, name, file(then, **after), "two") == {"zero": 0, "one": 1, "two": 2}


def published(folder: Path, web: WebServer, name: str, answer: Answer, out: str) -> dict[str, int]:
    """Transcript -> which tone."""
    web.answers[f"/{name}"] = [answer]
    (folder / "my.yaml").write_text(
        f"sources:\n  - {{name: Mine, location: '{web.url}/{name}', reader: table, licence: cc0-1.0}}\n"
    )
    assert main(["--fresh", "Mine", "--sources", str(folder / "my.yaml"), "--output", str(folder / out)]) == 0
    rows = [row for shard in (folder / out / "data").rglob("*.parquet") for row in pq.read_table(shard).to_pylist()]
    return {row["transcript_raw"]: which_tone(row["audio"]["bytes"]) for row in rows}


def which_tone(audio: bytes) -> int:
    """The published one is louder."""
    said = soundfile.read(io.BytesIO(audio))[0]
    tones = [soundfile.read(io.BytesIO(tone(number)))[0] for number in range(3)]
    return int(np.argmax([np.dot(said, one) for one in tones]))


# --- what fsspec opens -----------------------------------------------------------------------

ABOUT: dict[str, Any] = {}


class Telling(MemoryFileSystem):
    """A file system that says of its files what a test has it say."""

    protocol = "telling"
    store: dict[str, Any] = {}  # noqa: RUF012 - as its parent has it
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("telling://", "memory://")))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        found = super().ls(path, detail=True)
        return [{"name": one["name"], "size": one["size"], "type": one["type"], **ABOUT} for one in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        found = super().info(path)
        return {"name": found["name"], "size": found["size"], "type": found["type"], **ABOUT}


@pytest.fixture
def telling() -> Iterator[Telling]:
    fsspec.register_implementation("telling", Telling, clobber=True)
    yield Telling()
    Telling.store.clear()
    ABOUT.clear()


@pytest.mark.parametrize("location", ["telling://c", "telling://c/a.tar"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"modify": "20261201000000"}, {"modify": "20261201000001"}),  # ftp
        ({"mtime": 1.0}, {"mtime": 2.0}),  # sftp, smb, arrow
        ({"modificationTime": 1}, {"modificationTime": 2}),  # webhdfs
        ({"last_modified": "1"}, {"last_modified": "2"}),  # jupyter, azure
        ({"last_write_time": 1}, {"last_write_time": 2}),
        ({"sha": "a"}, {"sha": "b"}),  # github
        ({"CRC": 1, "date_time": "x"}, {"CRC": 2, "date_time": "x"}),  # zip
        ({"content_hash": "a"}, {"content_hash": "b"}),
    ],
)
def test_what_a_place_says_of_versions_is_heard(
    telling: Telling, location: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """By whatever name its file system has for it."""
    telling.pipe("/c/a.tar", b"content")
    ABOUT.update(before)
    first = UrlFiles(location)
    assert UrlFiles(location, first.revision).as_found == first.as_found
    ABOUT.update(after)

    with pytest.raises(SourceChanged):
        UrlFiles(location, first.revision)


@pytest.mark.parametrize("about", [{}, {"modify": "Nov 30 12:34"}])
def test_a_place_that_says_nothing_of_versions_is_known_by_its_content(telling: Telling, about: dict[str, Any]) -> None:
    """Nor does a time that is said to the minute, and in half a year in other words."""
    telling.pipe("/c/a.tar", b"content")
    ABOUT.update(about)
    first = UrlFiles("telling://c")
    ABOUT.update({"modify": "Nov 30 2026"} if about else {})
    assert UrlFiles("telling://c", first.revision).revision == first.revision
    telling.pipe("/c/a.tar", b"CONTENT")

    with pytest.raises(SourceChanged):
        UrlFiles("telling://c", first.revision)


def test_who_looked_at_a_file_is_no_version(telling: Telling) -> None:
    """Times of reading, modes and owners change by themselves."""
    telling.pipe("/c/a.tar", b"content")
    ABOUT.update({"mtime": 1.0, "time": 1.0, "accessTime": 1, "unix.mode": "rw", "uid": 1, "shared": 1})
    first = UrlFiles("telling://c")
    ABOUT.update({"time": 2.0, "accessTime": 2, "unix.mode": "r", "uid": 2, "shared": 2})

    assert UrlFiles("telling://c", first.revision).revision == first.revision


def test_a_place_begun_by_the_rule_before_goes_on(telling: Telling) -> None:
    """What it was asked for then is still asked for."""
    telling.pipe("/c/a.tar", b"content")
    ABOUT.update({"etag": "x", "content_hash": "new"})
    begun = mirror_revision(["a.tar"], [7], "a.tar x", None)

    assert UrlFiles("telling://c", begun).revision == begun
    ABOUT["etag"] = "y"
    with pytest.raises(SourceChanged):
        UrlFiles("telling://c", begun)
