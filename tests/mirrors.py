"""Small mirrors of sources, written by tests file by file."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from processors import create, describe
from processors.base_processor import BaseProcessor, ProcessorConfig
from utils.rows.schema import START, RawClip
from utils.sources.source_files import SourceAccess

Open = Callable[..., BaseProcessor]
"""(source, {path: content}, **options) -> its processor on a mirror that holds these files."""


def opener(folder: Path) -> Open:
    """What opens processors on mirrors in `folder`."""

    def make(source: str, files: Mapping[str, bytes], **options: str) -> BaseProcessor:
        for name, content in files.items():
            path = folder / describe(source).mirror / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != content:  # else it is the file that was there
                path.write_bytes(content)
        access = SourceAccess(source_dir=folder, cache_dir=folder / "cache")
        return create(source, ProcessorConfig(checkpoint_dir=folder, access=access, options=options))

    return make


def clips_of(processor: BaseProcessor, split: str = "train") -> list[RawClip]:
    """What it reads of a split. `--verify --source` counts on it that what it lists is the same."""
    read = list(processor.read(split, dict(START)))
    assert_listed(processor, split, read)
    return read


def assert_listed(processor: BaseProcessor, split: str, read: list[RawClip]) -> None:
    """Where a processor lists its clips, they are those that it reads, in the same order."""
    if processor.lists_what_it_reads:
        with tempfile.TemporaryDirectory() as scratch:
            listed = [clip.key if clip.selected else None for clip in processor.listed(split, Path(scratch), deep=True)]
        assert listed == [clip.key if clip.selected else None for clip in read]
