"""`--sources FILE`: what it may say, how it is answered where it is wrong, and that such a source is like any other."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from fsspec.implementations.memory import MemoryFileSystem

from main import main
from pipeline.cli import parse
from pipeline.run.source_run import fingerprint
from processors.base_processor import ProcessorConfig
from processors.configured.own_source import OwnSource
from processors.configured.sources_file import load_sources
from tests.corpus_mirrors import tar_of, write_files, zip_of
from tests.hub_server import HubServer
from tests.hub_sources import access
from tests.mirrors import clips_of
from tests.support import published_rows, tone
from utils.errors import SourceError, UsageError
from utils.rows.schema import AUDIO_TYPE, START, RawClip
from utils.sources.source_files import SourceAccess, SourceChanged

TABLES = {
    "train.tsv": "path\tsentence\n" + "".join(f"c{number}.wav\tข้อ {number}\n" for number in range(4)),
    "dev.tsv": "path\tsentence\nc4.wav\tข้อ 4\n",
    "test.tsv": "path\tsentence\nc5.wav\tข้อ 5\n",
}
CORPUS = {
    **{f"clips/c{number}.wav": tone(number) for number in range(6)},
    **{name: text.encode() for name, text in TABLES.items()},
}
SPLITS = "splits: {train: train.tsv, validation: [dev.tsv], test: test.tsv}"


def source(location: str, *lines: str, name: str = "MyCorpus", reader: str = "table") -> str:
    given = [f"name: {name}", f"location: {location}", f"reader: {reader}", *lines]
    if not any(line.startswith("licence") for line in lines):
        given.append("licence: cc-by-4.0")
    return "sources:\n  - " + "\n    ".join(given) + "\n"


def load(folder: Path, text: str) -> dict[str, OwnSource]:
    (folder / "my.yaml").write_text(text)
    return load_sources(folder / "my.yaml", ["GigaSpeech2"])


def clips(own: OwnSource, folder: Path, split: str = "train") -> list[RawClip]:
    mirrored = SourceAccess(cache_dir=folder / "cache")
    processor = own.processor_class()(ProcessorConfig(checkpoint_dir=folder, access=mirrored))
    return clips_of(processor, split)


# --- what it reads ---------------------------------------------------------------------------


def a_folder(folder: Path) -> str:
    write_files(folder / "corpus", CORPUS)
    return "corpus"


def an_archive(content: Callable[[], bytes], name: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / name).write_bytes(content())
        return name

    return write


def a_url(folder: Path) -> str:
    return f"file://{folder / a_folder(folder)}"


def a_url_of_an_archive(folder: Path) -> str:
    return f"file://{folder / an_archive(lambda: zip_of(CORPUS), 'corpus.zip')(folder)}"


PLACES = {
    "folder": a_folder,
    "zip": an_archive(lambda: zip_of(CORPUS), "corpus.zip"),
    "tar": an_archive(lambda: tar_of(CORPUS), "corpus.tar"),
    "tar.gz": an_archive(lambda: tar_of(CORPUS, "w:gz"), "corpus.tar.gz"),
    "URL": a_url,
    "URL of an archive": a_url_of_an_archive,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_corpus_is_read_wherever_it_lies(tmp_path: Path, place: str) -> None:
    """The same clips under the same names, whether loose, packed, or behind a URL."""
    own = load(tmp_path, source(PLACES[place](tmp_path), "columns: {audio: path, transcript: sentence}", SPLITS))

    read = clips(own["MyCorpus"], tmp_path)

    assert [(clip.key, clip.transcript, clip.audio) for clip in read] == [
        (f"c{number}", f"ข้อ {number}", tone(number)) for number in range(4)
    ]
    assert [clip.key for clip in clips(own["MyCorpus"], tmp_path, "validation")] == ["c4"]
    assert [clip.key for clip in clips(own["MyCorpus"], tmp_path, "test")] == ["c5"]


@pytest.mark.parametrize(("columns", "speaker"), [((), "somchai"), (("columns: {speaker: null}",), None)])
def test_speakers_are_found_under_their_usual_names(
    tmp_path: Path, columns: tuple[str, ...], speaker: str | None
) -> None:
    """As in a manifest of NeMo's; unless the corpus' definition says that there are none."""
    row = {"audio_filepath": "clips/c1.wav", "duration": 1.0, "text": "ข้อ", "speaker": "somchai"}
    write_files(tmp_path / "nemo", {"clips/c1.wav": tone(1), "manifest.json": json.dumps(row).encode()})
    own = load(tmp_path, source("nemo", "tables: manifest.json", "form: jsonl", *columns))

    assert [(clip.key, clip.speaker) for clip in clips(own["MyCorpus"], tmp_path)] == [("clips/c1", speaker)]


def parquet(numbers: range) -> bytes:
    sink = io.BytesIO()
    audio = pa.array([{"bytes": tone(number), "path": f"{number}.wav"} for number in numbers], AUDIO_TYPE)
    texts = [f"ข้อ {number}" for number in numbers]
    pq.write_table(pa.table({"speech": audio, "words": texts, "who": ["a"] * len(texts)}), sink)
    return sink.getvalue()


def test_any_parquet_dataset_on_the_hub_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits by the words in its file names, columns by the file's."""
    write_files(
        tmp_path / "repo", {"data/train-0.parquet": parquet(range(3)), "data/dev-0.parquet": parquet(range(3, 5))}
    )
    columns = "columns: {audio: speech, transcript: words, speaker: who}"
    own = load(tmp_path, source("me/my-corpus", columns, reader="parquet"))["MyCorpus"]

    with HubServer(tmp_path / "hub") as hub:
        hub.add_dataset("me/my-corpus", tmp_path / "repo")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        processor = own.processor_class()(ProcessorConfig(access=access(tmp_path / "cache")))
        train, validation = (list(processor.read(split, dict(START))) for split in ("train", "validation"))

    assert [(clip.key, clip.transcript, clip.speaker) for clip in train] == [
        (f"{number}-{xxhash.xxh3_128_hexdigest(tone(number))}", f"ข้อ {number}", "a") for number in range(3)
    ]
    assert [clip.key.partition("-")[0] for clip in validation] == ["3", "4"]


def test_a_branch_that_is_not_there_is_an_error_of_that_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops no other source, as a revision that was lost would."""
    write_files(tmp_path / "repo", {"data/train-0.parquet": parquet(range(3))})
    own = load(tmp_path, source("me/my-corpus", "branch: next", reader="parquet"))["MyCorpus"]

    with HubServer(tmp_path / "hub") as hub:
        hub.add_dataset("me/my-corpus", tmp_path / "repo")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        processor = own.processor_class()(ProcessorConfig(access=access(tmp_path / "cache")))
        with pytest.raises(SourceError, match="has no branch 'next'") as error:
            processor.check_can_be_read()

    assert error.value.exit_code == SourceError.exit_code


def test_an_audio_folder_needs_no_columns(tmp_path: Path) -> None:
    """`metadata.csv` in each split's folder, or one for all whose names begin with it."""
    rows = "file_name,transcription\na.wav,หนึ่ง\n".encode()
    write_files(tmp_path / "corpus", {"train/metadata.csv": rows, "train/a.wav": tone(1)})
    one = {"text": "สอง", "file_name": "test/b.wav"}
    write_files(tmp_path / "other", {"metadata.jsonl": json.dumps(one).encode(), "test/b.wav": tone(2)})
    first = load(tmp_path, source("corpus", reader="audiofolder"))["MyCorpus"]
    second = load(tmp_path, source("other", reader="audiofolder"))["MyCorpus"]

    assert [(clip.key, clip.transcript) for clip in clips(first, tmp_path)] == [("a", "หนึ่ง")]
    assert [(clip.key, clip.transcript) for clip in clips(second, tmp_path, "test")] == [("test/b", "สอง")]


def test_one_table_for_all_splits_says_which_row_is_whose(tmp_path: Path) -> None:
    """By a column; a value that stands for nothing is an error, not a guess."""
    table = "file,text,part,gender\na.wav,หนึ่ง,fit,f\nb.wav,สอง,held out,m\n".encode()
    write_files(tmp_path / "corpus", {"all.csv": table, "a.wav": tone(1), "b.wav": tone(2)})
    lines = ("columns: {audio: file, transcript: text, split: part, metadata: [gender]}", "tables: all.csv")
    own = load(tmp_path, source("corpus", *lines, "splits: {train: fit, test: held out}"))["MyCorpus"]
    other = load(tmp_path, source("corpus", *lines, "splits: {train: fit}"))["MyCorpus"]

    assert [(clip.key, clip.metadata) for clip in clips(own, tmp_path)] == [("a", {"gender": "f"})]
    assert [clip.key for clip in clips(own, tmp_path, "test")] == ["b"]
    with pytest.raises(SourceError, match="'held out' is no split"):
        clips(other, tmp_path)


def test_a_table_without_a_header_has_its_columns_named(tmp_path: Path) -> None:
    """As some corpora have them."""
    write_files(tmp_path / "corpus", {"train.tsv": "a.wav\tหนึ่ง\n".encode(), "a.wav": tone(1)})
    lines = ("header: [path, sentence]", "columns: {audio: path, transcript: sentence}")
    own = load(tmp_path, source("corpus", *lines))["MyCorpus"]

    assert [(clip.key, clip.transcript) for clip in clips(own, tmp_path)] == [("a", "หนึ่ง")]


def test_a_corpus_without_transcripts_says_so(tmp_path: Path) -> None:
    """`transcript: null`: otherwise a missing column is an error."""
    write_files(tmp_path / "corpus", {"train.csv": b"path\na.wav\n", "a.wav": tone(1)})
    silent = load(tmp_path, source("corpus", "columns: {audio: path, transcript: null}"))["MyCorpus"]
    unsaid = load(tmp_path, source("corpus", "columns: {audio: path}"))["MyCorpus"]

    assert [(clip.key, clip.transcript) for clip in clips(silent, tmp_path)] == [("a", "")]
    with pytest.raises(SourceError, match="no column 'sentence' or 'transcript'.*its columns are path"):
        clips(unsaid, tmp_path)


def test_a_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    """A mistyped speaker column does not make a corpus without speakers."""
    write_files(tmp_path / "corpus", {"train.csv": b"path,text,speaker\na.wav,x,7\n", "a.wav": tone(1)})
    own = load(tmp_path, source("corpus", "columns: {audio: path, speaker: speeker}"))["MyCorpus"]

    with pytest.raises(SourceError, match="no column 'speeker'; its columns are path, text, speaker"):
        clips(own, tmp_path)


# --- what is wrong with it -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sources: [", "line 1: this is no YAML"),
        ("", "line 1: here must be `key: value` lines"),
        ("sources: []", "line 1: there must be a list of sources"),
        ("corpora: []", "line 1: 'corpora' is not known here. Known: sources."),
        (source("."), None),
        (source(".", name="My Corpus"), "line 2: name: each source needs one, of letters and digits"),
        (source(".", name="gigaspeech2"), "line 2: name: 'gigaspeech2' is taken"),
        (source(".") + source(".").removeprefix("sources:\n"), "line 6: name: 'MyCorpus' is taken"),
        (source(".", reader="parket"), "line 4: reader: 'parket' is not known. Known: parquet, table"),
        (source("nowhere/at/all"), "line 3: location: there is no folder and no file"),
        (source("a" * 5000), "line 3: location: there is no folder and no file"),
        (source("~nobody-of-this-name/x"), "line 3: location: there is no folder and no file"),
        (source(".", "licence:"), "line 2: licence is missing"),
        (source(".", "title: 0x" + "f" * 5000), None),
        (source(".", "licence: 4.0"), None),
        (source(".", "colums: {}"), "line 5: 'colums' is not known here. Did you mean columns?"),
        (source(".", "columns: {audio: [a, b]}"), "line 5: columns.audio is the name of one column"),
        (source(".", "columns:", "  audio: 7"), "line 6: audio is a text, or a list of such"),
        (source(".", "splits: {dev: x}"), "line 5: 'dev' is not known here"),
        (source(".", "splits: {train: []}"), "line 5: splits.train is the name of its files"),
        (source(".", "quoted: perhaps"), "line 5: quoted is true or false"),
        (source(".", "form: xls"), "line 5: form: 'xls' is not known"),
        (source(".", "form: csv", reader="parquet"), "line 5: form: only the reader table knows that"),
        (source(".", "columns: {split: a}", reader="parquet"), "line 5: columns.split: splits of Parquet are files"),
        (source(".", "columns: {audio: a}", reader="kaldi"), "line 5: columns: Kaldi's files have none"),
        (source(".", "branch: next"), "line 5: branch: only a repo on the Hub has branches"),
        (source(".", "title: a", "title: b"), "line 6: 'title' stands twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, says: str | None) -> None:
    """The line, the key, and what to type; nothing has begun by then."""
    if says is None:
        assert load(tmp_path, text)
        return
    with pytest.raises(UsageError) as error:
        load(tmp_path, text)

    assert f"my.yaml, {says}" in str(error.value)
    assert "Nothing was changed" in str(error.value) or "Keep one" in str(error.value)


def test_values_without_end_are_refused(tmp_path: Path) -> None:
    """A few lines of aliases can stand for billions of values."""
    bomb = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")

    with pytest.raises(UsageError, match="more than 200,000 values"):
        load(tmp_path, "\n".join(bomb))


def test_a_missing_file_shows_what_one_looks_like(tmp_path: Path) -> None:
    """And the command line says no with 2, before anything runs."""
    with pytest.raises(UsageError, match="There is no file of sources(.|\n)*name: MyCorpus"):
        load_sources(tmp_path / "none.yaml", [])
    assert main(["--fresh", "MyCorpus", "--sources", str(tmp_path / "none.yaml")]) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sources:\n  - name: My\n   location: x\n", "line 3: this is no YAML .* Keys of one entry must stand exactly"),
        ("sources:\n  - name: My\n\tlocation: x\n", "line 3: this is no YAML .* Indent with spaces, not with tabs"),
    ],
)
def test_what_is_no_yaml_says_what_to_look_at(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("written", "licence"),
    [("CC BY 4.0", "cc-by-4.0"), ("cc0-1.0", "cc0-1.0"), ("ours, ask Ann", "other"), ("other", "other")],
)
def test_the_card_has_a_licence_that_the_hub_knows(tmp_path: Path, written: str, licence: str) -> None:
    """With any other it refuses the commit. What was written is told as it was."""
    info = load(tmp_path, source(".", f"licence: {written}"))["MyCorpus"].info

    assert (info.licence, info.licence_name) == (licence, written)


# --- one like any other ----------------------------------------------------------------------


def test_it_is_named_listed_published_and_resumed_like_any_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In any letter case, after the registered ones; a second run has nothing to do."""
    monkeypatch.chdir(tmp_path)
    text = source(a_folder(tmp_path), "columns: {audio: path, transcript: sentence}", SPLITS, "title: Mine")
    (tmp_path / "my.yaml").write_text(text)
    arguments = ["--fresh", "mycorpus", "--sources", "my.yaml", "--output", "out", "--quiet"]

    assert main(arguments) == 0
    published = published_rows(tmp_path / "out", ["source_id"])["source_id"].to_pylist()
    assert main([*arguments, "--resume"]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert main(["--list", "--sources", "my.yaml"]) == 0
    assert "Mine" in capsys.readouterr().out

    assert sorted(published) == [
        "MyCorpus/test/c5", *(f"MyCorpus/train/c{number}" for number in range(4)), "MyCorpus/validation/c4",
    ]  # fmt: skip
    assert parse(["--fresh", "--all", "--sources", "my.yaml"]).sources[-1] == "MyCorpus"
    card = (tmp_path / "out/README.md").read_text()
    assert "Mine" in card and "cc-by-4.0" in card


def test_a_changed_definition_is_refused_and_the_difference_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Going on would mix what two definitions read; what is only told of a source may change."""
    monkeypatch.chdir(tmp_path)
    columns = "columns: {audio: path, transcript: sentence}"
    arguments = ["--fresh", "MyCorpus", "--sources", "my.yaml", "--output", "out", "--quiet"]
    (tmp_path / "my.yaml").write_text(source(a_folder(tmp_path), columns, SPLITS))
    assert main(arguments) == 0

    (tmp_path / "my.yaml").write_text(source("corpus", columns, SPLITS, "title: Renamed"))
    assert main([*arguments, "--resume"]) == 0
    (tmp_path / "my.yaml").write_text(source("corpus", "columns: {audio: path, transcript: path}", SPLITS))
    assert main([*arguments, "--resume"]) == 6
    assert "source.columns.transcript: it was ['sentence'], now ['path']" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reader", "columns"),
    [
        ("table", "columns: {audio: path, transcript: CHANGED}"),
        ("parquet", "columns: {audio: speech, transcript: CHANGED}"),
    ],
)
def test_a_definition_under_which_nothing_could_be_read_may_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, columns: str
) -> None:
    """As the summary says: mend it and `--resume`. Also where the commits of another source have named it already."""
    monkeypatch.chdir(tmp_path)
    a_folder(tmp_path)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/train-0.parquet").write_bytes(parquet(range(6, 9)))
    other = source("corpus", "columns: {audio: path, transcript: sentence}", SPLITS, name="Other")
    place = "hf" if reader == "parquet" else "corpus"
    arguments = ["--fresh", "Mine", "Other", "--sources", "my.yaml", "--output", "out", "--dedup", "off", "--quiet"]

    def run(column: str, *more: str) -> int:
        mine = source(place, columns.replace("CHANGED", column), name="Mine", reader=reader)
        (tmp_path / "my.yaml").write_text(other + mine.removeprefix("sources:\n"))
        return main([*arguments, *more])

    assert run("mistyped") == 4
    assert run("words" if reader == "parquet" else "sentence", "--resume") == 0
    names = published_rows(tmp_path / "out", ["dataset_name"])["dataset_name"].to_pylist()
    assert names.count("Other") == 6 and names.count("Mine") == (3 if reader == "parquet" else 6)
    assert main(["--verify", "--output", "out"]) == 0
    assert run("who" if reader == "parquet" else "path", "--resume") == 6


def test_where_a_source_lies_is_no_part_of_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may move; another repo on the Hub is another source."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_files(tmp_path / name, CORPUS)

    def prints(location: str) -> dict[str, object]:
        (tmp_path / "my.yaml").write_text(source(location, SPLITS))
        return fingerprint(parse(["--fresh", "MyCorpus", "--sources", "my.yaml"]), "MyCorpus")

    assert prints("one") == prints("two")
    assert prints("me/one") != prints("me/two")
    assert prints("one") != prints("me/one")


def test_a_place_that_changed_is_noticed(tmp_path: Path) -> None:
    """By names and sizes: it keeps no revisions."""
    memory = MemoryFileSystem()
    for name, content in CORPUS.items():
        memory.pipe(f"/changed/{name}", content)
    own = load(tmp_path, source("memory://changed", SPLITS))["MyCorpus"]
    first = own.processor_class()(ProcessorConfig(access=SourceAccess(cache_dir=tmp_path / "cache")))
    first.check_can_be_read()
    memory.pipe("/changed/clips/c9.wav", b"new")

    again = own.processor_class()(ProcessorConfig(access=SourceAccess(cache_dir=tmp_path / "cache")))
    again.revision = first.revision
    with pytest.raises(SourceChanged, match="is not what was first read"):
        again.check_can_be_read()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nosuchprotocol://x/y", "nosuchprotocol"),
        ("memory://nothing/here", "holds no files|can't be read"),
    ],
)
def test_a_url_that_can_not_be_read_is_a_clear_error(tmp_path: Path, url: str, says: str) -> None:
    """It names the URL and what is wrong."""
    own = load(tmp_path, source(url))["MyCorpus"]

    with pytest.raises(SourceError, match=says):
        clips(own, tmp_path)


class Unlistable(MemoryFileSystem):
    """A place one folder of which can't be listed, though the one above it can."""

    protocol = "unlistable"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    error: ClassVar[OSError] = PermissionError(13, "Permission denied")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("unlistable://", "memory://")))

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        if path.rstrip("/").endswith("/b"):
            raise self.error
        return super().ls(path, detail=detail, **options)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_folder_of_a_url_that_can_not_be_listed_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Its clips would be nowhere, and the run would say that all is well."""
    fsspec.register_implementation("unlistable", Unlistable, clobber=True)
    monkeypatch.setattr(Unlistable, "error", error)
    files = Unlistable()
    for name in ("a/1.wav", "b/2.wav"):
        files.pipe(f"/corpus/clips/{name}", tone(1))
    own = load(tmp_path, source("unlistable://corpus"))["MyCorpus"]

    with pytest.raises(SourceError, match=str(error.strerror)):
        clips(own, tmp_path)


class LibraryError(Exception):
    """As ftplib has `error_perm`."""


class Refusing(io.BytesIO):
    """A file whose connection breaks, as a library of its own tells it."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise LibraryError("426 connection closed")


@pytest.mark.parametrize("when", ["ls", "open", "read"])
def test_errors_of_a_librarys_own_are_those_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Many are no OSErrors: wherever they come up, they say what the world does, not that we have a bug."""
    fsspec.register_implementation("unlistable", Unlistable, clobber=True)
    Unlistable().pipe("/own/train.csv", b"file,text\n")

    def fails(*_: object, **__: object) -> None:
        raise LibraryError("530 Login incorrect.")

    if when == "read":
        monkeypatch.setattr(Unlistable, "open", lambda *_, **__: Refusing())
    else:
        monkeypatch.setattr(Unlistable, when, fails)
    own = load(tmp_path, source("unlistable://own"))["MyCorpus"]

    with pytest.raises(SourceError, match=r"unlistable://own can't be read \((426|530)"):
        clips(own, tmp_path)


def test_a_url_of_this_machine_is_read_as_its_path_is(tmp_path: Path) -> None:
    """Linked folders are followed, a link to nothing is an error: fsspec would list both as files."""
    location = a_url(tmp_path)
    corpus = tmp_path / "corpus"
    (corpus / "clips").rename(corpus / ".elsewhere")
    (corpus / "clips").symlink_to(".elsewhere")
    own = load(tmp_path, source(location, SPLITS))["MyCorpus"]

    assert [clip.audio for clip in clips(own, tmp_path)] == [tone(number) for number in range(4)]

    (corpus / "gone.wav").symlink_to("nowhere")
    with pytest.raises(SourceError, match="gone.wav"):
        clips(own, tmp_path)


def test_what_a_url_lists_is_a_file_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link on another machine, say: what it leads to would be left out."""
    fsspec.register_implementation("unlistable", Unlistable, clobber=True)
    Unlistable().pipe("/links/clips/1.wav", tone(1))
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda *_, **__: [{"name": "/links/clips", "type": "link", "size": 1}])
    own = load(tmp_path, source("unlistable://links"))["MyCorpus"]

    with pytest.raises(SourceError, match="neither a file nor a folder"):
        clips(own, tmp_path)


def test_demo_has_no_sources_of_the_users(tmp_path: Path) -> None:
    """It makes up its own."""
    (tmp_path / "my.yaml").write_text(source("."))

    with pytest.raises(UsageError, match="--demo has no MyCorpus"):
        parse(["--fresh", "MyCorpus", "--demo", "--sources", str(tmp_path / "my.yaml")])
    assert "MyCorpus" not in parse(["--fresh", "--all", "--demo", "--sources", str(tmp_path / "my.yaml")]).sources
