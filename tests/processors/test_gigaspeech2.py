"""GigaSpeech2's own: tables that would leave out everything."""

from pathlib import Path

import pytest

from processors import create
from processors.base_processor import ProcessorConfig
from processors.demo.mirrors import write_demo_sources
from utils.errors import SourceError
from utils.rows.schema import START
from utils.sources.source_files import SourceAccess


def test_an_empty_table_is_an_error_not_a_split_without_clips(tmp_path: Path) -> None:
    """A download that left zero bytes must not turn every clip into an unselected one."""
    mirrors = write_demo_sources(tmp_path / "mirrors")
    (mirrors / "speechcolab/gigaspeech2/data/th/dev.tsv").write_bytes(b"")
    access = SourceAccess(source_dir=mirrors, cache_dir=tmp_path / "cache")
    processor = create("GigaSpeech2", ProcessorConfig(checkpoint_dir=tmp_path, access=access))

    with pytest.raises(SourceError, match=r"dev\.tsv has no transcripts"):
        next(processor.read("validation", dict(START)))
    assert next(processor.read("test", dict(START))).selected
