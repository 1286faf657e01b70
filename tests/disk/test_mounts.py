"""What is a mount point, by the kernel's own list."""

from pathlib import Path

import pytest

from utils.disk import mounts
from utils.disk.mounts import is_mount_point


def test_mount_points_of_this_machine(tmp_path: Path) -> None:
    """Those that every Linux has, and a folder that is none."""
    assert is_mount_point(Path("/"))
    assert is_mount_point(Path("/proc"))
    assert not is_mount_point(tmp_path)
    assert not is_mount_point(tmp_path / "not there")


def test_names_that_the_kernel_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, tabs, backslashes; and letters of any kind as they are."""
    folder = tmp_path / "my voices\\ข้อมูล\tnew"
    escaped = str(folder.resolve()).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
    (tmp_path / "mountinfo").write_text(f"36 35 98:0 /mnt1 {escaped} rw,noatime master:1 - ext3 /dev/root rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "mountinfo")

    assert is_mount_point(folder)
    assert not is_mount_point(tmp_path / "my voices")


def test_without_the_kernels_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python knows must do."""
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "nothing")

    assert is_mount_point(Path("/"))
    assert not is_mount_point(tmp_path)
