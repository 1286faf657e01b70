"""Names of files made from names that others chose."""

from pathlib import Path

import pytest

from utils.disk.file_names import file_name_of
from utils.upload.upload_checkpoint import upload_checkpoint_path


@pytest.mark.parametrize("text", ["/a/b", "a_b", "a/b", "../x", "..", ".hidden", "เสียง" * 60, "x\0y", "a b", ""])
def test_a_file_name_is_short_and_no_path(text: str) -> None:
    """Whatever the text: one name, no separators, not hidden, short enough with an ending."""
    name = file_name_of(text)

    assert Path(name).name == name
    assert not name.startswith(".")
    assert len(name.encode()) <= 120


def test_different_texts_have_different_names() -> None:
    """Two targets must not share a staging folder."""
    texts = ["x/b", "x_b", "/x/b", "x/b/", "a" * 200, "a" * 201]

    assert len({file_name_of(text) for text in texts}) == len(texts)


def test_upload_checkpoint_is_named_after_its_repo_and_split(tmp_path: Path) -> None:
    """As documented, with the slash as `_`; a long path is shortened rather than refused by the disk."""
    assert upload_checkpoint_path(tmp_path, "me/x", "train").name == "me_x_train_upload_checkpoint.json"
    assert len(upload_checkpoint_path(tmp_path, "ก" * 200, "train").name.encode()) < 255
