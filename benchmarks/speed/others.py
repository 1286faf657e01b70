"""Those we are compared with: which of the ways in `ways.py` can be gone here, and why the rest can't."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from benchmarks.speed.measuring import PROJECT, Contender
from benchmarks.speed.shapes import Shape

HOW_TO_INSTALL = "pip install -e '.[bench]'"


@dataclass(frozen=True)
class Way:
    """A contender's key in `ways.py`, its name in the tables, and what it needs."""

    key: str
    name: str
    packages: tuple[str, ...]
    lacks: Callable[[], str] = lambda: ""
    """What else is missing; empty where nothing is."""
    needs_hub: bool = False
    part: float = 1.0
    """Of the clips that are given to the others."""


def available(shape: Shape, clips: int, with_hub: bool) -> tuple[list[Contender], list[str]]:
    """The others on a shape, each given so many clips; and a line for each that can't be measured here."""
    contenders, left_out = [], []
    for way in _WAYS:
        if way.needs_hub and not with_hub:
            continue
        if why := _why_not(way):
            left_out.append(f"{way.name}: {why}")
        else:
            contenders.append(_contender(way, shape, clips))
    return contenders, left_out


def _contender(way: Way, shape: Shape, clips: int) -> Contender:
    return Contender(
        way.name,
        "wav",
        lambda mirror, out: ["-m", "benchmarks.speed.ways", way.key, shape.name, str(mirror), str(out)],
        clips=max(1, round(way.part * clips)),
        environment=_ffmpeg_named(),
        needs_hub=way.needs_hub,
        rival="ours, to a Hub" if way.needs_hub else "ours",
    )


def _why_not(way: Way) -> str:
    missing = [package for package in way.packages if importlib.util.find_spec(package) is None]
    if missing:
        return f"no {', '.join(missing)} ({HOW_TO_INSTALL} brings it)"
    return way.lacks()


@cache
def _lacks_torchcodec() -> str:
    """torchcodec may be installed without the libraries that it needs: only loading it tells."""
    command = [sys.executable, "-c", "from torchcodec.decoders import AudioDecoder"]
    done = subprocess.run(command, capture_output=True, cwd=PROJECT, check=False)
    return "torchcodec can't be loaded (it needs FFmpeg's shared libraries)" if done.returncode else ""


def _lacks_ffmpeg() -> str:
    return "" if ffmpeg() else "there is no program ffmpeg"


@cache
def ffmpeg() -> str | None:
    """The program: `FFMPEG` of the environment, else that of the path, else that of `imageio-ffmpeg`."""
    if found := os.environ.get("FFMPEG") or shutil.which("ffmpeg"):
        return found
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return None
    return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())


def _ffmpeg_named() -> Mapping[str, str]:
    found = ffmpeg()
    return {"FFMPEG": found} if found else {}


_WAYS = (
    Way("datasets", "datasets", ("datasets", "torch", "torchcodec"), _lacks_torchcodec),
    Way("datasets-push", "datasets, push_to_hub", ("datasets", "torch", "torchcodec"), _lacks_torchcodec, True),
    Way("datasets-soundfile", "datasets with soundfile", ("datasets",)),
    Way("librosa", "librosa", ("datasets", "librosa")),
    Way("lhotse", "lhotse", ("lhotse", "torch", "pyloudnorm")),
    Way("ffmpeg", "ffmpeg per file", (), _lacks_ffmpeg, part=0.25),
)
