"""Links in a corpus' folder: followed within it and into the store of a tool that keeps contents, never out of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from main import main
from tests.corpus_mirrors import write_files
from tests.support import tone, tree
from utils.errors import SourceError
from utils.sources.folder_files import files_in

OURS = {"clips/a.wav": b"one", "more/b.wav": b"three"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_files(tmp_path / "corpus", OURS)
    return tmp_path / "corpus"


def listed(folder: Path) -> dict[str, int]:
    return dict(sorted(files_in(folder)))


# --- followed --------------------------------------------------------------------------------


def test_a_link_to_a_place_in_the_corpus_is_that_place(corpus: Path) -> None:
    """Relative or absolute, a file or a folder, through any number of others; the corpus may be one itself."""
    (corpus / "c.wav").symlink_to("clips/a.wav")
    (corpus / "d.wav").symlink_to(corpus / "c.wav")
    (corpus / "clips/more").symlink_to("../more")
    (corpus.parent / "linked").symlink_to("corpus")

    wanted = {"c.wav": 3, "clips/a.wav": 3, "clips/more/b.wav": 5, "d.wav": 3, "more/b.wav": 5}
    assert listed(corpus) == listed(corpus.parent / "linked") == wanted


def hub_cache(place: Path) -> tuple[Path, Path]:
    return place / "datasets--me--corpus/snapshots/3f2a", place / "datasets--me--corpus/blobs/9d8c"


def hub_cache_below(place: Path) -> tuple[Path, Path]:
    return place / "datasets--me--corpus/snapshots/3f2a/th", place / "datasets--me--corpus/blobs/9d8c"


def git_annex(place: Path) -> tuple[Path, Path]:
    return place / "repo/speech/th", place / "repo/.git/annex/objects/x/y/SHA256E-s5--9d8c.wav/SHA256E-s5--9d8c.wav"


def git_annex_in_the_corpus(place: Path) -> tuple[Path, Path]:
    return place / "repo", place / "repo/.git/annex/objects/x/y/SHA256E-s5--9d8c.wav/SHA256E-s5--9d8c.wav"


def dvc(place: Path) -> tuple[Path, Path]:
    return place / "repo/th", place / "repo/.dvc/cache/files/md5/9d/8c"


STORES = [hub_cache, hub_cache_below, git_annex, git_annex_in_the_corpus, dvc]


@pytest.mark.parametrize("layout", STORES)
@pytest.mark.parametrize("absolute", [False, True])
def test_contents_in_a_store_above_the_corpus_are_part_of_it(
    tmp_path: Path, layout: Callable[[Path], tuple[Path, Path]], absolute: bool
) -> None:
    """The caches of the Hub's client, git-annex and DVC: their files are links, and no more."""
    folder, content = layout(tmp_path)
    write_files(tmp_path, {str(content.relative_to(tmp_path)): b"sound"})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.wav").symlink_to(content if absolute else os.path.relpath(content, folder))

    assert listed(folder) == {"a.wav": 5}


# --- never followed --------------------------------------------------------------------------


def a_file(corpus: Path, secret: Path) -> None:
    (corpus / "text").symlink_to(secret)


def a_relative_one(corpus: Path, secret: Path) -> None:
    (corpus / "clips/text").symlink_to(f"../../{secret.parent.name}/{secret.name}")


def a_folder(corpus: Path, secret: Path) -> None:
    (corpus / "tables").symlink_to(secret.parent)


def by_a_link_in_the_corpus(corpus: Path, secret: Path) -> None:
    (corpus / ".hidden").symlink_to(secret.parent)
    (corpus / "text").symlink_to(f".hidden/{secret.name}")


def a_folder_of_a_like_name(corpus: Path, secret: Path) -> None:
    write_files(corpus.with_name("corpus-of-mine"), {"text": b"x"})
    (corpus / "text").symlink_to("../corpus-of-mine/text")


def a_blob_of_no_snapshot(corpus: Path, secret: Path) -> None:
    write_files(corpus.parent, {"blobs/9d8c": b"x"})
    (corpus / "text").symlink_to("../blobs/9d8c")


def beside_the_store(corpus: Path, secret: Path) -> None:
    write_files(corpus.parent, {".git/config": b"password", ".git/annex/objects/x": b"x"})
    (corpus / "text").symlink_to("../.git/config")


OUTWARDS = [
    *(a_file, a_relative_one, a_folder, by_a_link_in_the_corpus, a_folder_of_a_like_name, a_blob_of_no_snapshot),
    beside_the_store,
]


@pytest.mark.parametrize("link", OUTWARDS)
def test_a_link_out_of_the_corpus_stops_the_source(
    corpus: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    """What it leads to is the user's, and would be published; leaving it out would lose clips in silence."""
    write_files(tmp_path, {"private/secret": b"u1 the secret\n"})
    link(corpus, tmp_path / "private/secret")

    with pytest.raises(SourceError, match="is a link that leads out of its corpus"):
        listed(corpus)


@pytest.mark.parametrize("where", ["folder", "URL", "mirror"])
def test_the_text_of_another_file_is_published_nowhere(
    tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus from the network whose transcripts are a link to a file of the user's."""
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / ("mirrors/me/corpus" if where == "mirror" else "corpus")
    write_files(corpus, {"u1.wav": tone(1), "wav.scp": b"u1 u1.wav\n"})
    (tmp_path / "secret").write_text("u1 the secret of another file\n")
    (corpus / "text").symlink_to(tmp_path / "secret")
    location = {"folder": "corpus", "URL": f"file://{corpus}", "mirror": "me/corpus"}[where]
    (tmp_path / "my.yaml").write_text(
        f"sources:\n  - {{name: Mine, location: '{location}', reader: kaldi, licence: cc0-1.0}}\n"
    )
    source_dir = ["--source-dir", "mirrors"] if where == "mirror" else []

    code = main(["--fresh", "Mine", "--sources", "my.yaml", "--output", "out", *source_dir])

    told = "".join(capsys.readouterr())
    assert code == 4, told
    assert "text is a link that leads out of its corpus" in " ".join(told.split())
    assert not any(b"the secret" in content for content in tree(tmp_path / "out").values())


# --- that lead nowhere, or in circles ---------------------------------------------------------


def test_circles_end(corpus: Path) -> None:
    """A folder that links to one above it is not walked for ever, and its files are there once."""
    (corpus / "clips/up").symlink_to("..")
    (corpus / "clips/self").symlink_to(".")

    assert listed(corpus) == {"clips/a.wav": 3, "more/b.wav": 5}


@pytest.mark.parametrize("target", ["c.wav", "nowhere.wav"])
def test_a_link_to_nothing_is_an_error(corpus: Path, target: str) -> None:
    """To itself, too. Leaving it out would lose its clips in silence (law 8)."""
    (corpus / "c.wav").symlink_to(target)

    with pytest.raises(SourceError, match=r"c\.wav can't be read"):
        listed(corpus)


def test_folders_that_all_link_to_each_other_are_refused(tmp_path: Path) -> None:
    """Ten of them make ten million paths."""
    folders = [tmp_path / str(number) for number in range(10)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            if other != folder:
                (folder / other.name).symlink_to(f"../{other.name}")

    with pytest.raises(SourceError, match="round and round"):
        listed(tmp_path)
