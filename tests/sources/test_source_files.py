"""Where source files come from: local mirrors and the Hub, pinned to one revision."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import TOKEN, HubServer
from tests.hub_sources import (
    ARCHIVE,
    ARCHIVE_BYTES,
    REPO,
    TABLE,
    access,
    make_source,
    noise,
)
from utils.errors import SourceError
from utils.sources.hub import Patience
from utils.sources.mirror_revision import MAX_FILES_READ
from utils.sources.source_files import SourceAccess, SourceChanged, SourceFiles, open_source


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


def mirrored(folder: Path, revision: str | None = None, mirror: str = "owner/name") -> SourceFiles:
    """The mirror in `folder`, opened as a processor does."""
    return open_source(mirror, mirror, SourceAccess(source_dir=folder), revision)


# --- mirrors ---------------------------------------------------------------------------------


def test_a_mirror_lists_its_files_sorted_and_leaves_hidden_ones_out(tmp_path: Path) -> None:
    """Names are relative, with slashes, in an order that no disk decides; `.cache` folders and the like don't count."""
    names = ["data/b.tsv", "data/a.tar.gz", "README.md", ".gitattributes", ".cache/huggingface/x"]
    make_source(tmp_path / "owner/name", dict.fromkeys(names, b"12"))

    files = mirrored(tmp_path)

    assert list(files.names()) == ["README.md", "data/a.tar.gz", "data/b.tsv"]
    assert files.size_bytes("data/b.tsv") == 2


def test_a_mirrors_files_are_opened_by_name(tmp_path: Path) -> None:
    """What is opened is the file itself, seekable, to be closed by whoever opened it."""
    make_source(tmp_path / "owner/name", {"a/b.tsv": b"0123456789"})

    with mirrored(tmp_path).open("a/b.tsv") as file:
        file.seek(4)
        rest = file.read()

    assert rest == b"456789"


def test_a_name_that_is_not_there_is_an_error_with_near_names(tmp_path: Path) -> None:
    """The message helps to find the typing error, or the layout that has changed."""
    make_source(tmp_path / "owner/name", {"data/th/dev.tsv": b"x", "data/th/test.tsv": b"y", "README.md": b"z"})
    files = mirrored(tmp_path)

    with pytest.raises(SourceError, match=r"no file 'data/th/dev\.tvs'.*data/th/dev\.tsv"):
        files.open("data/th/dev.tvs")
    with pytest.raises(SourceError, match="no file"):
        files.size_bytes("../name/README.md")


@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_or_empty_mirror_is_an_error_that_names_the_folder(tmp_path: Path, empty: bool) -> None:
    """Nothing there never means "a source without clips"."""
    if empty:
        (tmp_path / "owner/name").mkdir(parents=True)

    with pytest.raises(SourceError, match=f"{tmp_path / 'owner/name'}.*Put the source's files there") as raised:
        mirrored(tmp_path)

    assert raised.value.exit_code == 4


def test_a_mirrors_revision_stands_for_names_and_sizes(tmp_path: Path) -> None:
    """The same files elsewhere are the same revision; one more file, or one more byte, is another."""
    files = {"data/a.wav": b"one", "data/b.wav": b"two"}
    for place, changed in {"here": {}, "there": {}, "more": {"c": b""}, "longer": {"data/b.wav": b"two!"}}.items():
        make_source(tmp_path / place / "owner/name", {**files, **changed})

    here, there, more, longer = (mirrored(tmp_path / p).revision for p in ("here", "there", "more", "longer"))

    assert here == there
    assert here.startswith("files:")
    assert len({here, more, longer}) == 3


def test_a_mirrors_revision_stands_for_the_content_of_what_holds_many_clips(tmp_path: Path) -> None:
    """A table in another order may have its very size, and so has an archive. The clips are a file each."""
    rows = [b"%d\tx" % number for number in range(10)]
    large = [bytes([number]) * 2**17 for number in range(20)]
    files = {"a.tsv": b"\n".join(rows), "b.tar": b"".join(large), "c.wav": b"RIFF"}
    changes = {
        "here": {},
        "clip": {"c.wav": b"FFIR"},
        "table": {"a.tsv": b"\n".join([*rows[5:], *rows[:5]])},
        "archive": {"b.tar": b"".join([*large[5:], *large[:5]])},
        "last": {"b.tar": b"".join(large)[:-1] + b"!"},
    }
    for place, changed in changes.items():
        make_source(tmp_path / place / "owner/name", {**files, **changed})

    revisions = {place: mirrored(tmp_path / place).revision for place in changes}

    assert revisions["clip"] == revisions["here"]
    assert len(set(revisions.values())) == 4


def test_the_largest_files_are_looked_into(tmp_path: Path) -> None:
    """A folder with a text for each of many clips is opened quickly; its table is larger than a text."""
    many = {f"texts/{number}.txt": b"text" for number in range(MAX_FILES_READ + 5)}
    table = {"all.tsv": b"0 1 2 3 4 5"}
    folder = make_source(tmp_path / "owner/name", many | table)
    revision = mirrored(tmp_path).revision

    (folder / "texts/99.txt").write_bytes(b"TEXT")  # the table and the first texts by name stand before it
    assert mirrored(tmp_path).revision == revision
    (folder / "all.tsv").write_bytes(b"5 4 3 2 1 0")
    assert mirrored(tmp_path).revision != revision


def test_a_revision_from_before_contents_were_looked_into_is_gone_on_with(tmp_path: Path) -> None:
    """It stands for names and sizes, and says so: what was begun goes on, and a file more is a change as ever."""
    folder = make_source(tmp_path / "owner/name", {"a.tsv": b"one"})
    older = mirrored(tmp_path).revision.partition(".")[0]

    (folder / "a.tsv").write_bytes(b"two")
    assert mirrored(tmp_path, older).revision == older
    (folder / "b.tsv").write_bytes(b"two")
    with pytest.raises(SourceChanged):
        mirrored(tmp_path, older)


def test_a_mirror_that_changed_is_refused(tmp_path: Path) -> None:
    """Law 6: reading on in other files could lose clips or repeat them, so the run stops with exit code 6."""
    folder = make_source(tmp_path / "owner/name", {"a.tsv": b"one"})
    revision = mirrored(tmp_path).revision
    assert mirrored(tmp_path, revision).revision == revision
    (folder / "b.tsv").write_bytes(b"two")

    with pytest.raises(SourceChanged, match=r"not those that were first read.*--fresh") as raised:
        mirrored(tmp_path, revision)

    assert raised.value.exit_code == 6


def test_changing_between_mirror_and_hub_is_refused(tmp_path: Path) -> None:
    """Their revisions can't be compared, so neither is read in the other's place."""
    make_source(tmp_path / "owner/name", {"a.tsv": b"one"})

    with pytest.raises(SourceChanged, match="first read from the Hub"):
        mirrored(tmp_path, "0123456789abcdef0123456789abcdef01234567")
    with pytest.raises(SourceChanged, match="first read from a mirror"):
        open_source("owner/name", "owner/name", SourceAccess(), "files:0123")


def test_a_source_that_is_not_on_the_hub_needs_a_mirror(tmp_path: Path) -> None:
    """The message says which folder to make."""
    with pytest.raises(SourceError, match=r"--source-dir a folder that holds common_voice/"):
        open_source("common_voice", None, access(tmp_path), None)


# --- the Hub: what is there ------------------------------------------------------------------


def test_a_source_on_the_hub_is_listed_as_its_mirror_would_be(hub: HubServer, streaming: SourceAccess) -> None:
    """The same names and sizes, `.gitattributes` left out, at the head's commit."""
    files = open_source(REPO, REPO, streaming, None)

    assert files.revision == hub.head(REPO)
    assert list(files.names()) == [TABLE, ARCHIVE]
    assert files.size_bytes(ARCHIVE) == ARCHIVE_BYTES
    with pytest.raises(SourceError, match=f"no file 'data/th/test.tsv'.*{TABLE}"):
        files.open("data/th/test.tsv")


def test_a_long_listing_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a listing are followed: a file left out would be clips lost."""
    names = [f"data/{number:03}.tsv" for number in range(25)]
    with HubServer(tmp_path / "hub", page_size=4) as hub:
        hub.add_dataset(REPO, make_source(tmp_path / "source", dict.fromkeys(names, b"x")))
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)

        files = open_source(REPO, REPO, access(tmp_path / "cache"), None)

    assert list(files.names()) == names


@pytest.mark.parametrize("streamed", [False, True])
def test_a_pinned_revision_is_read_when_the_repo_has_moved_on(hub: HubServer, tmp_path: Path, streamed: bool) -> None:
    """Law 6: the revision first read is the one read on, whatever its owner has pushed since."""
    way = access(tmp_path / "cache", streaming=streamed)
    first = open_source(REPO, REPO, way, None)
    make_source(tmp_path / "source", {ARCHIVE: b"another archive", "data/th/new.tsv": b"new"})
    hub.add_dataset(REPO, tmp_path / "source")

    pinned = open_source(REPO, REPO, way, first.revision)

    assert pinned.names() == first.names()
    with pinned.open(ARCHIVE) as file:
        assert file.read() == noise(0, ARCHIVE_BYTES)
    assert open_source(REPO, REPO, way, None).revision != first.revision


def test_a_revision_that_is_gone_is_refused(hub: HubServer, streaming: SourceAccess) -> None:
    """Never the head in its place: exit code 6, and the way out."""
    with pytest.raises(SourceChanged, match=r"no longer on the Hub.*--fresh"):
        open_source(REPO, REPO, streaming, "0" * 40)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_gated_source_says_where_to_accept_its_terms(hub: HubServer, tmp_path: Path, streamed: bool) -> None:
    """The page to visit and the command to log in with; never the token."""
    hub.add_dataset(REPO, tmp_path / "source", gated=True, allowed=["somebody"])
    for token in (None, TOKEN):
        files = open_source(REPO, REPO, access(tmp_path / "cache", streaming=streamed, token=token), None)

        with pytest.raises(SourceError, match="is gated") as raised, files.open(ARCHIVE) as file:
            file.read()

        assert f"{hub.endpoint}/datasets/{REPO}" in str(raised.value)
        assert "hf auth login" in str(raised.value)
        assert TOKEN not in str(raised.value)
        assert raised.value.exit_code == 4


def test_a_gated_source_opens_for_an_account_that_was_let_in(hub: HubServer, tmp_path: Path) -> None:
    """The token goes with each request to the Hub, and not to the host that it redirects to."""
    hub.add_dataset(REPO, tmp_path / "source", gated=True, allowed=["me"])
    files = open_source(REPO, REPO, access(tmp_path / "cache", streaming=True, token=TOKEN), None)

    with files.open(ARCHIVE) as file:
        assert file.read() == noise(0, ARCHIVE_BYTES)


@pytest.mark.parametrize("token", [None, TOKEN, "hf_nobodys_token"])
def test_a_source_that_is_not_there_is_an_error_with_its_page(
    hub: HubServer, tmp_path: Path, token: str | None
) -> None:
    """Missing, private or a wrong token look alike from outside; the message says so."""
    with pytest.raises(SourceError, match=f"private or gone.*{hub.endpoint}/datasets/corpora/none") as raised:
        open_source("corpora/none", "corpora/none", access(tmp_path, token=token), None)

    assert token is None or token not in str(raised.value)


def test_a_hub_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: said after a few tries, with what is safe and what to do."""
    with HubServer(tmp_path / "hub") as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.endpoint)

    with pytest.raises(SourceError, match=r"could not be reached.*--resume"):
        open_source(REPO, REPO, access(tmp_path, patience=Patience(tries=2, first_wait_s=0.001)), None)


@pytest.mark.parametrize("fault", [{"action": "lost_before"}, {"action": "status", "status": 503}, {"action": "stall"}])
def test_a_hub_that_fails_for_a_moment_is_asked_again(
    hub: HubServer, tmp_path: Path, fault: dict[str, str | int]
) -> None:
    """A lost answer, a server error, and a server that says nothing at all: each costs a try, not the run."""
    way = access(tmp_path, timeout_s=0.3 if fault["action"] == "stall" else 20.0)
    rule = hub.fault(str(fault.pop("action")), step="repo_info", times=2, **fault)

    assert open_source(REPO, REPO, way, None).revision == hub.head(REPO)
    assert rule.struck == 2
