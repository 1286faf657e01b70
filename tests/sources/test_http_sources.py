"""A source at an address of the web: read by ranges, healed, and told in words where it is not what it should be."""

import base64
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from main import main
from tests.corpus_mirrors import tar_of, zip_of
from tests.sources.test_stand_ins import PAGE, POINTER, parquet
from tests.support import tone
from tests.web_server import Answer, WebServer, cut_short, file, redirect, status
from utils.errors import Interrupted, SourceError
from utils.sources.hub import Patience
from utils.sources.remote_file import SourceChanged
from utils.sources.source_files import SourceAccess, SourceFiles
from utils.sources.url_files import open_url

CONTENT = bytes(range(256)) * 20_000
"""Some windows of a reader."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def opened(url: str, tries: int = 4, revision: str | None = None) -> SourceFiles:
    quick = Patience(tries=tries, first_wait_s=0.001)
    return open_url(url, SourceAccess(patience=quick, timeout_s=20.0), revision)


def content_of(files: SourceFiles) -> bytes:
    with files.open(files.names()[0]) as stream:
        return stream.read()


# --- read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_is_read_with_and_without_ranges(web: WebServer, ranges: bool) -> None:
    """Its name is that in the address; any place of it can be jumped to."""
    web.answers["/th/corpus.zip"] = [file(CONTENT, ranges)]
    files = opened(f"{web.url}/th/corpus.zip")

    with files.open("corpus.zip") as stream:
        stream.seek(-100, 2)
        end = stream.read()
        stream.seek(3_000_000)
        middle = stream.read(100)

    assert (list(files.names()), files.size_bytes("corpus.zip")) == (["corpus.zip"], len(CONTENT))
    assert (end, middle) == (CONTENT[-100:], CONTENT[3_000_000:3_000_100])
    assert content_of(files) == CONTENT


def test_a_server_without_ranges_is_asked_once_for_what_is_read_on(
    web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is said that jumps are dear there."""
    web.answers["/a.tar"] = [file(CONTENT, ranges=False, **{"Last-Modified": "Tue, 01 Dec 2026 00:00:00 GMT"})]

    assert content_of(opened(f"{web.url}/a.tar")) == CONTENT
    assert len(web.asked) == 2  # its size; its bytes
    assert "gives no parts of a file" in caplog.text


def test_a_connection_that_breaks_is_healed(web: WebServer) -> None:
    """Each time from the first byte that is missing."""
    web.answers["/a.tar"] = [file(CONTENT), *(cut_short(CONTENT, 400_000) for _ in range(3)), file(CONTENT)]

    assert content_of(opened(f"{web.url}/a.tar")) == CONTENT


def test_trouble_that_passes_is_waited_for(web: WebServer) -> None:
    """Of the server's own, or too many requests; a stop is heard meanwhile."""
    web.answers["/a.tar"] = [status(500), status(503), status(429), file(CONTENT), status(502), file(CONTENT)]

    assert content_of(opened(f"{web.url}/a.tar")) == CONTENT

    web.answers["/a.tar"] = [status(503, **{"Retry-After": "100"})]
    stopped = SourceAccess(stop_requested=lambda: True)
    with pytest.raises(Interrupted, match="waiting for http://127"):
        open_url(f"{web.url}/a.tar", stopped, None)


def test_what_is_called_packed_for_the_way_stays_as_it_is(web: WebServer) -> None:
    """Some servers say so of every .tar.gz."""
    content = tar_of({"a.wav": tone(1)}, "w:gz")
    web.answers["/a.tar.gz"] = [file(content, **{"Content-Encoding": "gzip"})]

    assert content_of(opened(f"{web.url}/a.tar.gz")) == content


@pytest.mark.parametrize("ranges", [True, False])
def test_parquet_behind_an_address_is_published(
    tmp_path: Path, web: WebServer, ranges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entered from its end; called a page by a server that knows no better."""
    monkeypatch.chdir(tmp_path)
    web.answers["/train.parquet"] = [file(parquet(*map(tone, range(4))), ranges, kind="text/html")]

    assert run_over(tmp_path, f"{web.url}/train.parquet?sig=abcdef123456", reader="parquet") == 0


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    ("name", "packed"), [("c.zip", zip_of), ("c.tar", tar_of), ("c.tar.gz", lambda files: tar_of(files, "w:gz"))]
)
def test_a_corpus_behind_an_address_is_published(
    tmp_path: Path,
    web: WebServer,
    name: str,
    packed: Callable[[dict[str, bytes]], bytes],
    ranges: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a package of its own; with a signature, which is no part of its name."""
    monkeypatch.chdir(tmp_path)
    clips = {f"{number}.wav": tone(number) for number in range(4)}
    table = "file,sentence\n" + "".join(f"{clip},ข้อ {clip}\n" for clip in clips)
    web.answers[f"/{name}"] = [file(packed({**clips, "train.csv": table.encode()}), ranges)]

    assert run_over(tmp_path, f"{web.url}/{name}?sig=abcdef123456") == 0


def run_over(folder: Path, location: str, reader: str = "table") -> int:
    (folder / "my.yaml").write_text(
        f"sources:\n  - {{name: Mine, location: '{location}', reader: {reader}, licence: cc0-1.0}}\n"
    )
    return main(["--fresh", "Mine", "--sources", str(folder / "my.yaml"), "--output", str(folder / "out")])


# --- not read: in words ----------------------------------------------------------------------


def gone(web: WebServer) -> None:
    web.answers["/a.tar"] = [status(404)]


def refused(web: WebServer) -> None:
    web.answers["/a.tar"] = [status(403, "signature expired")]


def always_failing(web: WebServer) -> None:
    web.answers["/a.tar"] = [status(500)]


def a_circle(web: WebServer) -> None:
    web.answers["/a.tar"] = [redirect("/b.tar")]
    web.answers["/b.tar"] = [redirect("/a.tar")]


def no_length(web: WebServer) -> None:
    web.answers["/a.tar"] = [status(200, "", **{"Content-Length": "", "Connection": "close"})]


def a_page(web: WebServer) -> None:
    web.answers["/a.tar"] = [file(PAGE, ranges=False)]


def a_page_by_its_kind(web: WebServer) -> None:
    web.answers["/a.tar"] = [redirect("/login"), file(CONTENT)]
    web.answers["/login"] = [file(b"\n<p>Log in", kind="text/html; charset=utf-8")]


def a_page_later(web: WebServer) -> None:
    web.answers["/a.tar"] = [file(CONTENT), status(200, PAGE.decode(), **{"Content-Type": "text/html"})]


def a_pointer(web: WebServer) -> None:
    web.answers["/a.tar"] = [file(POINTER, kind="text/plain")]


def to_a_scheme(scheme: str) -> Callable[[WebServer], None]:
    def redirecting(web: WebServer) -> None:
        web.answers["/a.tar"] = [redirect(f"{scheme}/etc/passwd")]

    return redirecting


def to_nothing(web: WebServer) -> None:
    web.answers["/a.tar"] = [redirect("http://host:port/a.tar")]


def a_method_of_its_own(web: WebServer) -> None:
    web.answers["/a.tar"] = [status(304)]


def other_bytes(web: WebServer) -> None:
    web.answers["/a.tar"] = [file(CONTENT), status(206, "x", **{"Content-Range": f"bytes 7-7/{len(CONTENT)}"})]


def a_part_of_nothing(web: WebServer) -> None:
    web.answers["/a.tar"] = [status(206, "x" * 1024)]


def no_content(web: WebServer) -> None:
    web.answers["/a.tar"] = [status(202, "soon")]


PROBLEMS: list[tuple[Callable[[WebServer], None], str]] = [
    (gone, r"is not there \(HTTP 404\)"),
    (refused, r"is not for us \(HTTP 403\)"),
    (always_failing, r"can't be read \(HTTP 500\)"),
    (a_circle, "in a circle"),
    (no_length, "does not say how large it is"),
    (a_page, "gives a web page in place of the file"),
    (a_page_by_its_kind, "gives a web page in place of the file"),
    (a_page_later, "gives a web page in place of the file"),
    (a_pointer, "is a Git LFS pointer.*git lfs pull"),
    (to_a_scheme("file://"), "sends us on to a file: address"),
    (to_a_scheme("ftp://127.0.0.1"), "sends us on to a ftp: address"),
    (to_a_scheme("data:text/plain,"), "sends us on to a data: address"),
    (to_nothing, "sends us on to what is no address"),
    (other_bytes, "gives other bytes than it is asked for"),
    (a_part_of_nothing, "does not say how large it is"),
    (no_content, "does not say how large it is"),
    (a_method_of_its_own, r"can't be read \(HTTP 304\)"),
]


@pytest.mark.parametrize(("problem", "says"), PROBLEMS, ids=[says for _, says in PROBLEMS])
def test_what_can_not_be_read_is_said_in_words(web: WebServer, problem: Callable[[WebServer], None], says: str) -> None:
    """What it is, what is safe, what to do: exit code 4, and no class name."""
    problem(web)

    with pytest.raises(SourceError, match=says) as told:
        content_of(opened(f"{web.url}/a.tar"))

    assert told.value.exit_code == 4
    assert "--resume" in str(told.value)
    assert "safe" in str(told.value)
    assert "Error" not in str(told.value)


def test_a_server_that_is_not_there_is_asked_as_long_as_the_hub_is(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens at the port."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        caplog.set_level(logging.INFO)
        with pytest.raises(SourceError, match=r"can't be read \(connection refused\)"):
            opened(f"http://127.0.0.1:{nobody.getsockname()[1]}/a.tar", tries=3)

    assert caplog.text.count("no good answer from http://127.0.0.1") == 2


def test_an_address_that_names_no_file_is_refused(web: WebServer) -> None:
    """Over http nothing can be listed."""
    with pytest.raises(SourceError, match="names no file"):
        opened(f"{web.url}/corpora/")


@pytest.mark.parametrize("later", [file(CONTENT[:-1]), file(CONTENT, ETag='"2"')])
def test_a_file_that_changes_while_it_is_read_is_noticed(web: WebServer, later: Answer) -> None:
    """Half of the one and half of the other would be no corpus."""
    web.answers["/a.tar"] = [file(CONTENT, ETag='"1"'), file(CONTENT, ETag='"1"'), later]

    with pytest.raises(SourceChanged, match="another file than when"):
        content_of(opened(f"{web.url}/a.tar"))


def test_a_renewed_signature_is_no_other_source(web: WebServer) -> None:
    """Names and sizes make the revision; another size makes another one."""
    web.answers["/a.tar"] = [file(CONTENT)]
    first = opened(f"{web.url}/a.tar?X-Amz-Signature=0123456789")

    again = opened(f"{web.url}/a.tar?X-Amz-Signature=9876543210", revision=first.revision)

    assert again.revision == first.revision
    web.answers["/a.tar"] = [file(CONTENT[:-1])]
    with pytest.raises(SourceChanged, match="is not what was first read"):
        opened(f"{web.url}/a.tar", revision=first.revision)


def test_a_file_of_the_same_size_and_another_version_is_another(web: WebServer) -> None:
    """As far as the server vouches for it: a weak version may change with how it sends the file."""
    web.answers["/a.tar"] = [file(CONTENT, ETag='"1"')]
    first = opened(f"{web.url}/a.tar")
    web.answers["/a.tar"] = [file(CONTENT, ETag='"2"')]
    with pytest.raises(SourceChanged, match="is not what was first read"):
        opened(f"{web.url}/a.tar", revision=first.revision)

    web.answers["/b.tar"] = [file(CONTENT, ETag='W/"1"')]
    weak = opened(f"{web.url}/b.tar")
    web.answers["/b.tar"] = [file(CONTENT, ETag='W/"2"')]
    assert opened(f"{web.url}/b.tar", revision=weak.revision).revision == weak.revision


# --- redirects and credentials ---------------------------------------------------------------


def test_credentials_go_to_their_own_server_alone(web: WebServer) -> None:
    """Neither does another host get them, nor does it get back what it puts into its address."""
    with WebServer() as other:
        web.answers["/a.tar"] = [redirect("/moved/a.tar")]
        web.answers["/moved/a.tar"] = [redirect(f"http://them:theirs@{other.host}/a.tar")]
        other.answers["/a.tar"] = [file(CONTENT)]

        assert content_of(opened(f"http://me:pass%40word@{web.host}/a.tar?token=secret1")) == CONTENT

    basic = "Basic " + base64.b64encode(b"me:pass@word").decode()
    assert {asked.headers.get("Authorization") for asked in web.asked} == {basic}
    assert {asked.headers.get("Authorization") for asked in other.asked} == {None}
    assert not any("secret1" in str(asked) or "pass" in str(asked) for asked in other.asked)


def test_no_redirect_leads_from_https_to_http() -> None:
    """What was asked for in secret is not asked for in the open."""
    import httpx2

    from utils.sources.http_files import HttpFile

    file = HttpFile("https://host/a.tar", 1.0, Patience())
    with pytest.raises(SourceError, match="sends us on to a http: address, from https:"):
        file._redirected(httpx2.URL("https://host/a.tar"), {"location": "http://host/a.tar"})


def test_a_run_over_an_address_that_gives_something_else_ends_with_4(
    tmp_path: Path, web: WebServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never "a bug of ours"."""
    monkeypatch.chdir(tmp_path)
    for problem, _ in PROBLEMS:
        if problem is always_failing:  # waited for as long as a source on the Hub is
            continue
        problem(web)

        code = run_over(tmp_path, f"{web.url}/a.tar")

        told = "".join(capsys.readouterr())
        assert (code, "bug of ours" in told) == (4, False), told
