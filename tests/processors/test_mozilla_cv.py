"""Common Voice as a folder and as an archive: odd rows, odd names, several releases, and nothing at all."""

import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from processors import create
from processors.base_processor import ProcessorConfig
from tests.mirrors import Open, clips_of, opener
from utils.errors import SourceError
from utils.rows.schema import RawClip

RELEASE = "cv-corpus-25.0-2026-03-09"
CV_HEADER = "client_id\tpath\tsentence\tage"


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    return opener(tmp_path)


def extracted(table: bytes, *clips: str, durations: bytes = b"") -> dict[str, bytes]:
    """An extracted Common Voice release with a train table; the content of a clip is its name."""
    root = f"{RELEASE}/th"
    return {
        f"{root}/train.tsv": table,
        **{f"{root}/{split}.tsv": f"{CV_HEADER}\n".encode() for split in ("dev", "test")},
        **({f"{root}/clip_durations.tsv": durations} if durations else {}),
        **{f"{root}/clips/{clip}": clip.encode() for clip in clips},
    }


def as_archive(files: Mapping[str, bytes], order: Callable[[str], object] | None = None) -> dict[str, bytes]:
    """The same release as the archive that it was extracted from."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in sorted(files, key=order):  # type: ignore[type-var, arg-type]
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))
    return {f"{RELEASE}-th.tar.gz": buffer.getvalue()}


def cv_table(*rows: Iterable[str]) -> bytes:
    return "\n".join([CV_HEADER, *("\t".join(row) for row in rows), ""]).encode()


ODD_ROWS = cv_table(
    ("s1", "b.mp3", 'เขาว่า "ไป', "twenties"),
    ("s2", "gone.mp3", "หาย", ""),
    ("s1", "a.mp3", "มา", ""),
    ("s3", "../train.tsv", "x", ""),
    ("s3", "/etc/passwd", "x", ""),
    ("s3", "nul\0.mp3", "x", ""),
    ("s3", "..", "x", ""),
    ("s3", "below/d.mp3", "x", ""),
    ("", "c.MP3", ""),
    ("s4", "", "no clip"),
    ("s1", "b.mp3", "อีกครั้ง", ""),
)
DURATIONS = b"clip\tduration[ms]\nb.mp3\t1500\na.mp3\tunknown\nc.MP3\t-3\n"


def test_a_folder_is_read_in_table_order_with_speaker_metadata_and_duration(opened: Open) -> None:
    """Names from the table never leave the folder of clips: they are looked up, not opened."""
    files = extracted(ODD_ROWS, "a.mp3", "b.mp3", "c.MP3", "unlisted.mp3", "below/d.mp3", durations=DURATIONS)

    clips = clips_of(opened("MozillaCommonVoice", files))

    assert [(clip.key, clip.audio) for clip in clips] == [
        ("b", b"b.mp3"), ("gone", None), ("a", b"a.mp3"), ("train", None), ("passwd", None), ("nul\0", None),
        ("..", None), ("d", None), ("c", b"c.MP3"), ("b", b"b.mp3"),
    ]  # fmt: skip
    assert (clips[0].transcript, clips[0].speaker, clips[0].metadata) == ('เขาว่า "ไป', "s1", {"age": "twenties"})
    assert [clip.declared_duration_s for clip in clips[:3]] == [1.5, None, None]
    assert clips[8].speaker is None


@pytest.mark.parametrize("order", [None, lambda name: (name.endswith(".tsv"), name), lambda name: name[::-1]])
def test_an_archive_has_the_content_of_the_folder_it_extracts_to(
    opened: Open, order: Callable[[str], object] | None
) -> None:
    """In another order: clips as they lie, then the rows without one; wherever the tables lie in it."""
    files = extracted(ODD_ROWS, "a.mp3", "b.mp3", "c.MP3", "unlisted.mp3", "below/d.mp3", durations=DURATIONS)
    from_folder = clips_of(opened("MozillaCommonVoice", files))
    processor = opened("MozillaCommonVoice", as_archive(files, order))
    (processor.config.access.source_dir / "common_voice" / RELEASE).rename(  # type: ignore[operator]
        processor.config.access.cache_dir.parent / "aside"
    )

    clips = clips_of(processor)

    def content(clip: RawClip) -> tuple[object, ...]:
        return clip.key, clip.transcript, clip.speaker, clip.declared_duration_s, str(clip.metadata)

    assert sorted(map(content, clips)) == sorted(map(content, from_folder))
    assert [clip.audio for clip in clips].index(None) == 3
    assert all(clip.audio is None for clip in clips[3:])
    for clip in clips:
        assert list(processor.read("train", clip.position)) == clips[clip.position["index"] :]


def test_both_forms_and_several_releases_give_the_newest_extracted(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """9.0 is older than 25.0; what was read is said; a delta release is none of them."""
    newest = extracted(cv_table(("s", "a.mp3", "ใหม่")), "a.mp3")
    older = {name.replace("25.0-2026-03-09", "9.0-2022-04-27"): content for name, content in newest.items()}
    delta = {f"{RELEASE.replace('25.0', '26.0-delta')}-th.tar.gz": b""}

    (clip,) = clips_of(opened("MozillaCommonVoice", {**older, **delta, **as_archive(newest), **newest}))

    assert clip.transcript == "ใหม่"
    assert RELEASE in caplog.text


def test_a_table_with_bom_and_crlf_reads_and_seeks(opened: Open) -> None:
    """Offsets count bytes, so they fit whatever the line ends are."""
    table = b"\xef\xbb\xbf" + cv_table(("s", "a.mp3", "หนึ่ง", "x"), ("s", "b.mp3", "สอง", "y")).replace(b"\n", b"\r\n")
    processor = opened("MozillaCommonVoice", extracted(table, "a.mp3", "b.mp3"))

    first, second = clips_of(processor)

    assert (first.transcript, second.metadata) == ("หนึ่ง", {"age": "y"})
    assert list(processor.read("train", first.position)) == [second]
    assert list(processor.read("train", second.position)) == []


def test_a_table_without_its_columns_is_refused(opened: Open) -> None:
    """As a file of its own, and within an archive."""
    files = extracted(b"client_id\tfile\ttext\n", "a.mp3")

    with pytest.raises(SourceError, match=r"train\.tsv has no column 'path' or 'sentence'; its columns are client_id"):
        clips_of(opened("MozillaCommonVoice", files))


def test_an_archive_without_a_table_is_refused(opened: Open) -> None:
    """It names the archive and the table."""
    files = {name: content for name, content in extracted(cv_table(), "a.mp3").items() if "train.tsv" not in name}

    with pytest.raises(SourceError, match=rf"{RELEASE}-th.tar.gz holds no train\.tsv"):
        clips_of(opened("MozillaCommonVoice", as_archive(files)))


def test_a_mirror_without_a_release_says_what_to_download_and_where_to_put_it(opened: Open) -> None:
    """The page, the release's name and the folder are in the message."""
    with pytest.raises(
        SourceError, match=r"mozilladatacollective\.com/datasets.*mcv-scripted-th-v25\.0.*common_voice/"
    ):
        clips_of(opened("MozillaCommonVoice", {"readme.txt": b""}))


def test_without_a_mirror_common_voice_says_so_at_once(tmp_path: Path) -> None:
    """It has no repo on the Hub; nothing is asked of the network."""
    processor = create("MozillaCommonVoice", ProcessorConfig(checkpoint_dir=tmp_path))

    with pytest.raises(SourceError, match=r"not on the Hub.*--source-dir"):
        clips_of(processor)


def test_an_offset_behind_the_table_is_refused(opened: Open) -> None:
    """The table is not the one that the position was made in."""
    processor = opened("MozillaCommonVoice", extracted(cv_table(("s", "a.mp3", "x")), "a.mp3"))

    with pytest.raises(SourceError, match="behind the end"):
        list(processor.read("train", {"index": 1, "offset": 10_000}))


def test_a_release_without_another_splits_table_is_listed_as_it_is_read(opened: Open) -> None:
    """Somebody who extracted one table can run and check that split."""
    files = extracted(cv_table(("s", "a.mp3", "x")), "a.mp3")

    processor = opened(
        "MozillaCommonVoice", {name: files[name] for name in files if name.endswith(("a.mp3", "train.tsv"))}
    )

    assert [clip.key for clip in clips_of(processor)] == ["a"]
    with pytest.raises(SourceError, match="Extract the whole archive"):
        clips_of(processor, "validation")
