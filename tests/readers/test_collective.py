"""Common Voice from the Mozilla Data Collective: resumable, verified, and the key goes nowhere but there."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from processors import create
from processors.base_processor import ProcessorConfig
from processors.readers.collective import CollectiveFiles
from tests.readers.collective_server import KEY, CollectiveServer
from tests.runs import run
from tests.support import published_rows, tone
from utils.errors import Interrupted, SourceError
from utils.rows.schema import START
from utils.sources.hub import Patience
from utils.sources.remote_file import SourceChanged
from utils.sources.source_files import SourceAccess

SLUG = "mcv-scripted-th-v25.0"
ARCHIVE = "cv-corpus-25.0-2026-03-09-th.tar.gz"
CONTENT = Random(1).randbytes(300_000)
OTHER_KEY = "mdc_another_key"


def release() -> bytes:
    """The archive of a tiny release: two clips a split."""
    root, buffer = "cv-corpus-25.0-2026-03-09/th", io.BytesIO()
    files = {}
    for number, table in enumerate(("train", "dev", "test")):
        rows = ["client_id\tpath\tsentence", *(f"ann\t{table}-{at}.mp3\tประโยค {at}" for at in range(2)), ""]
        files[f"{table}.tsv"] = "\n".join(rows).encode()
        files.update({f"clips/{table}-{at}.mp3": tone(10 * number + at, 0.15) for at in range(2)})
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def collective(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectiveServer]:
    with CollectiveServer(SLUG, ARCHIVE, CONTENT) as server:
        monkeypatch.setenv("MDC_API_URL", server.api_url)
        monkeypatch.setenv("MDC_API_KEY", KEY)
        yield server


def opened(folder: Path, revision: str | None = None, **access: object) -> CollectiveFiles:
    """The archive, as a run that has just begun opens it."""
    patience = Patience(tries=3, first_wait_s=0.01, longest_wait_s=0.01)
    return CollectiveFiles(SLUG, SourceAccess(cache_dir=folder, patience=patience, **access), revision)


def read(files: CollectiveFiles) -> bytes:
    with files.open(ARCHIVE) as file:
        return file.read()


# --- downloads -------------------------------------------------------------------------------


def test_an_archive_is_downloaded_once_and_verified(collective: CollectiveServer, tmp_path: Path) -> None:
    """Its revision is its checksum; read again, in this run or another, it costs no session and no byte."""
    files = opened(tmp_path)
    assert (files.names(), files.size_bytes(ARCHIVE)) == ((ARCHIVE,), len(CONTENT))
    assert files.revision == hashlib.sha256(CONTENT).hexdigest()
    assert read(files) == CONTENT
    asked = list(collective.asked)

    assert read(opened(tmp_path, files.revision)) == CONTENT

    assert [step for step, _ in asked] == ["details", "download", "bytes"]
    assert collective.asked[len(asked) :] == [("details", "")]


def test_a_download_goes_on_where_it_stopped(collective: CollectiveServer, tmp_path: Path) -> None:
    """In the same run after a broken connection, and in another run after a stop."""
    collective.answers["bytes"] = ["half"]
    stops = iter([False, True])

    with pytest.raises(Interrupted):
        read(opened(tmp_path, stop_requested=lambda: next(stops, True)))
    assert read(opened(tmp_path)) == CONTENT

    firsts = [int(wanted.removeprefix("bytes=").split("-")[0]) for wanted in collective.bytes_asked]
    assert firsts == sorted(firsts)
    assert firsts[-1] > 0


def test_an_address_that_has_expired_is_asked_for_again(collective: CollectiveServer, tmp_path: Path) -> None:
    """In the middle of a download: it goes on from the byte that is missing."""
    collective.serves = 1
    collective.answers["bytes"] = ["half"]

    assert read(opened(tmp_path)) == CONTENT

    assert [step for step, _ in collective.asked] == ["details", "download", "bytes", "bytes", "download", "bytes"]
    assert collective.bytes_asked[-1] == f"bytes={len(CONTENT) // 2}-{len(CONTENT) - 1}"


def test_a_server_without_ranges_will_do(collective: CollectiveServer, tmp_path: Path) -> None:
    """It sends all of it again; what is here already is passed over."""
    collective.knows_ranges = False
    collective.answers["bytes"] = ["half"]

    assert read(opened(tmp_path)) == CONTENT


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_what_came_damaged_is_never_used(algorithm: str, collective: CollectiveServer, tmp_path: Path) -> None:
    """Whatever the checksum is; it is fetched anew once, then the message says so."""
    collective.checksum = f"{algorithm}:{hashlib.new(algorithm, CONTENT + b'!', usedforsecurity=False).hexdigest()}"

    with pytest.raises(SourceError, match="came damaged twice"):
        read(opened(tmp_path))
    assert not [path for path in tmp_path.rglob(ARCHIVE) if ".partial" not in path.parts]

    collective.checksum = f"{algorithm}:{hashlib.new(algorithm, CONTENT, usedforsecurity=False).hexdigest()}"
    assert read(opened(tmp_path)) == CONTENT


def test_streaming_keeps_no_copy(collective: CollectiveServer, tmp_path: Path) -> None:
    """And seeks."""
    with opened(tmp_path, streaming=True).open(ARCHIVE) as file:
        file.seek(250_000)
        assert file.read(10) == CONTENT[250_000:250_010]
    assert list(tmp_path.rglob("*")) == []


def test_another_archive_than_the_first_read_is_refused(collective: CollectiveServer, tmp_path: Path) -> None:
    """Also one that changes between two requests."""
    revision = opened(tmp_path).revision
    files = opened(tmp_path)
    collective.content = CONTENT + b"more"

    with pytest.raises(SourceChanged):
        opened(tmp_path, revision)
    with pytest.raises(SourceChanged):
        read(files)


# --- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["details", "download", "bytes"])
@pytest.mark.parametrize("answer", [429, 500, 503, "lost"])
def test_trouble_that_passes_is_waited_for(
    step: str, answer: int | str, collective: CollectiveServer, tmp_path: Path
) -> None:
    """A busy server, a lost connection: asked again."""
    collective.answers[step] = [answer, answer]

    assert read(opened(tmp_path)) == CONTENT


@pytest.mark.parametrize(
    ("step", "answer", "says"),
    [
        ("download", 401, "does not know the key"),
        ("download", 403, "terms are to be accepted"),
        ("details", 404, "no such dataset"),
        ("details", "html", "makes sense"),
        ("download", "html", "makes sense"),
        ("bytes", 403, "HTTP 403"),
    ],
)
def test_what_a_person_must_mend_is_told(
    step: str, answer: int | str, says: str, collective: CollectiveServer, tmp_path: Path
) -> None:
    """At once, with what to do; neither the key nor an address is in it."""
    collective.answers[step] = [answer] * 9

    with pytest.raises(SourceError, match=says) as told:
        read(opened(tmp_path))

    assert not any(secret in str(told.value) for secret in (KEY, "signature", "http://"))


@pytest.mark.parametrize("filename", ["../up.tar.gz", ".hidden", "a/b", "", "a\nb"])
def test_names_that_are_no_names_are_refused(filename: str, collective: CollectiveServer, tmp_path: Path) -> None:
    """A name of the server's never leads out of the cache."""
    collective.filename = filename

    with pytest.raises(SourceError, match="makes sense"):
        opened(tmp_path)
    assert list(tmp_path.rglob("*")) == []


# --- Common Voice ----------------------------------------------------------------------------


def test_common_voice_is_read_with_a_key_alone(collective: CollectiveServer, tmp_path: Path) -> None:
    """No mirror, no download by hand; without a key the message says how to get either."""
    collective.content = release()
    config = ProcessorConfig(access=SourceAccess(cache_dir=tmp_path))

    clips = list(create("MozillaCommonVoice", config).read("train", dict(START)))

    assert [(clip.key, clip.audio, clip.speaker) for clip in clips] == [
        ("train-0", tone(0, 0.15), "ann"),
        ("train-1", tone(1, 0.15), "ann"),
    ]


def test_without_a_key_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or how to download it by hand."""
    monkeypatch.delenv("MDC_API_KEY", raising=False)

    with pytest.raises(SourceError, match="MDC_API_KEY.*--source-dir"):
        list(create("MozillaCommonVoice", ProcessorConfig(access=SourceAccess(cache_dir=tmp_path))).read("train", {}))


def test_the_key_goes_to_the_collective_and_nowhere_else(collective: CollectiveServer, tmp_path: Path) -> None:
    """Not with the bytes, into no log, no file and no message; at the log's most talkative."""
    collective.content = release()
    loud = {"MDC_API_URL": collective.api_url, "MDC_API_KEY": KEY, "HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}
    arguments = ["--fresh", "MozillaCommonVoice", "--output", "out", "--verbose"]

    refused = run(arguments, tmp_path, {**loud, "MDC_API_KEY": OTHER_KEY})
    done = run(arguments, tmp_path, loud)

    assert (refused.returncode, done.returncode) == (4, 0), done.stderr
    assert published_rows(tmp_path / "out").num_rows == 6
    with_key = [
        step
        for (step, _), headers in zip(collective.asked, collective.headers, strict=True)
        if any(key in str(headers) for key in (KEY, OTHER_KEY))
    ]
    assert set(with_key) == {"download"}
    told = "".join([refused.stdout, refused.stderr, done.stdout, done.stderr]).encode()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(secret.encode() in text for secret in (KEY, OTHER_KEY, "signature=") for text in (told, *written))
