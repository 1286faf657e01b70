"""Processed Voice TH: 169,000 clips built on Common Voice Thai, in Parquet.

    data/train-0000N-of-00008.parquet, data/dev-*.parquet, data/test-*.parquet   audio {bytes, path}, sentence

It names no speakers. The same recordings come with MozillaCommonVoice.
"""

from processors.catalog import CATALOG
from processors.configured.parquet_source import ParquetSource
from processors.readers.spec import Columns, ParquetSpec


class ProcessedVoiceTHProcessor(ParquetSource):
    name = "ProcessedVoiceTH"
    info = CATALOG["ProcessedVoiceTH"]
    spec = ParquetSpec(
        Columns(audio=("audio",), transcript=("sentence",)),
        {
            "train": ("data/train-*.parquet",),
            "validation": ("data/dev-*.parquet", "data/validation-*.parquet"),
            "test": ("data/test-*.parquet",),
        },
        paths_are_unique=True,
    )
