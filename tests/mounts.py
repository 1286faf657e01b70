"""A folder that is a mount point, played: it can't be renamed, and nothing moves between it and the rest."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from utils.disk import mounts


def mount(place: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the kernel's list name `place`, and renames and links answer as the kernel does there."""
    place = place.resolve()
    listed = place.with_name(f"{place.name}.mountinfo")
    listed.write_text(f"36 35 98:0 / {place} rw,noatime master:1 - ext4 /dev/disk rw\n")
    patch.setattr(mounts, "_MOUNTS", listed)
    patch.setattr(Path, "rename", _refusing(Path.rename, place))
    patch.setattr(Path, "replace", _refusing(Path.replace, place))
    patch.setattr(os, "link", _refusing(os.link, place))


def _refusing(act: Callable[..., Any], place: Path) -> Callable[..., Any]:
    def over_no_border(old: Path, new: Path) -> Any:
        here, there = Path(old).resolve(), Path(new).resolve()
        if place in (here, there):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(old), None, str(new))
        if here.is_relative_to(place) != there.is_relative_to(place):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(old), None, str(new))
        return act(old, new)

    return over_no_border
