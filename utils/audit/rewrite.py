"""Shards written again: rows left out, IDs changed, columns that an older tool did not have filled in."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from utils.audio.rejected import AudioRejected
from utils.audio.standardize import standardize_audio
from utils.audit.repeats import RowPlace
from utils.audit.scan import Row, Scan, Scanner, audio_bytes, text_of
from utils.choices import AudioOptions
from utils.dataset.layout import part_name
from utils.disk.durable import make_folder
from utils.rows.ids import IdSet, Range, number_of
from utils.rows.schema import LANGUAGE, SPEECH, RowSchema, metadata_json, published_schema
from utils.upload.cutting import ShardLimits
from utils.upload.shard_writer import ShardFile, audio_file_name


@dataclass
class Figures:
    """What the rows of a shard come to, once it is mended."""

    rows: int = 0
    duration_s: float = 0.0
    numbers: IdSet = field(default_factory=IdSet)

    @property
    def ids(self) -> list[Range]:
        return self.numbers.ranges

    def add(self, row: Row, rows: RowSchema = SPEECH) -> None:
        self.rows += 1
        self.duration_s += row.get("length") or 0.0
        if number_of(text_of(row.get("ID")), rows.id_prefix) is not None:
            self.numbers.add(row["ID"])


@dataclass
class WrittenShard(Figures):
    """A shard in a local file."""

    name: str = ""
    local: Path = Path()


class Rewriter:
    """Writes what a scan asks for into `folder`."""

    def __init__(self, scanner: Scanner, found: Scan, folder: Path, sample_rate_hz: int | None) -> None:
        self.told: list[str] = []
        self._scanner, self._found, self._folder = scanner, found, folder
        self._schema = published_schema(sample_rate_hz)
        make_folder(folder)

    def figures(self, file: int) -> Figures:
        """What stays in a file under its own ID."""
        figures = Figures()
        for number, row in self._scanner.rows_of(self._found.paths[file], ["ID", "length"]):
            if (file, number) not in self._found.dropped and (file, number) not in self._found.renamed:
                figures.add(row)
        return figures

    def write_again(self, file: int) -> WrittenShard:
        """A shard without the rows that go, and without those that move because they get a new ID."""
        path = self._found.paths[file]
        with RowWriter(self._folder / path.replace("/", "-"), path.rpartition("/")[2], self._schema) as writer:
            for number, row in self._scanner.rows_of(path):
                if (file, number) not in self._found.dropped and (file, number) not in self._found.renamed:
                    writer.add(row)
        return writer.shard

    def write_renamed(self, places: list[RowPlace], name: str, split: str) -> WrittenShard:
        """A shard of the rows that get a new ID."""
        wanted = set(places)
        with RowWriter(self._folder / f"data-{split}-{name}", name, self._schema) as writer:
            for file in sorted({file for file, _ in places}):
                for number, row in self._scanner.rows_of(self._found.paths[file]):
                    if (file, number) in wanted:
                        writer.add(self._with_id(row, file, number))
        return writer.shard

    def write_all(self, files: list[int], source: str, split: str, limits: ShardLimits) -> list[WrittenShard]:
        """All rows that stay, with all columns, in shards of the usual size."""
        rows = self._completed(files, source, split)
        shards: list[WrittenShard] = []
        row = next(rows, None)
        while row is not None:
            name = part_name(source, len(shards))
            size = 0
            with RowWriter(self._folder / f"data-{split}-{name}", name, self._schema) as writer:
                while row is not None and writer.shard.rows < limits.max_rows and size < limits.max_bytes:
                    writer.add(row)
                    size += len(audio_bytes(row))
                    row = next(rows, None)
            shards.append(writer.shard)
        return shards

    def _completed(self, files: list[int], source: str, split: str) -> Iterator[Row]:
        for file in files:
            for number, row in self._scanner.rows_of(self._found.paths[file]):
                if (file, number) not in self._found.dropped:
                    yield complete(self._with_id(row, file, number), source, split)

    def _with_id(self, row: Row, file: int, number: int) -> Row:
        new = self._found.renamed.get((file, number))
        if new is None:
            return row
        old = text_of(row.get("ID")) or "no ID"
        self.told.append(f"{self._found.paths[file]} row {number}: {old} becomes {new}")
        cell = row.get("audio")
        if isinstance(cell, dict):
            ending = text_of(cell.get("path")).rpartition(".")[2] or "wav"
            row = {**row, "audio": {**cell, "path": f"{audio_file_name(new)}.{ending}"}}
        return {**row, "ID": new}


def complete(row: Row, source: str, split: str) -> Row:
    """A row of an older tool with all columns. Its audio stays as it is; length and hash are measured."""
    content = audio_bytes(row)
    sample_id, transcript = text_of(row["ID"]), text_of(row.get("transcript"))
    try:
        audio = standardize_audio(content, AudioOptions(standardize=False))
        length, audio_hash, ending = audio.duration_s, audio.audio_hash, audio.extension
    except AudioRejected:  # kept as it is: a repair removes nothing but copies
        length, audio_hash, ending = _number(row.get("length")), "", "bin"
    return {
        "ID": sample_id,
        "source_id": text_of(row.get("source_id")) or f"{source}/{split}/{sample_id}",
        "dataset_name": text_of(row.get("dataset_name")) or source,
        "speaker_id": text_of(row.get("speaker_id")) or None,
        "Language": text_of(row.get("Language")) or LANGUAGE,
        "audio": {"bytes": content or None, "path": f"{audio_file_name(sample_id)}.{ending}"},
        "transcript": transcript,
        "transcript_raw": text_of(row.get("transcript_raw")) or transcript,
        "length": length,
        "confidence_score": _number(row.get("confidence_score", 1.0 if transcript else 0.0)),
        "audio_hash": audio_hash,
        "source_metadata": text_of(row.get("source_metadata")) or _other_columns(row),
    }


def _other_columns(row: Row) -> str | None:
    """What an older tool said in columns that we don't have."""
    ours = published_schema(None).names
    return metadata_json({name: text_of(value) for name, value in row.items() if name not in ours})


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class RowWriter:
    """One shard from rows that have their IDs already, one by one, in the row groups of a build."""

    def __init__(self, local: Path, name: str, schema: pa.Schema, rows: RowSchema = SPEECH) -> None:
        self.shard = WrittenShard(name=name, local=local, numbers=IdSet(prefix=rows.id_prefix))
        self._schema, self._row_schema = schema, rows
        self._file = ShardFile(local, schema)
        self._waiting: list[Row] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.abandon()
            return
        if self._waiting:
            self._write_group()
        self._file.finish()

    def add(self, row: Row) -> None:
        self.shard.add(row, self._row_schema)
        self._waiting.append(row)
        size = len(audio_bytes(row)) if self._row_schema.has_audio else self._row_schema.payload_bytes(row)
        if self._file.is_full_with(size):
            self._write_group()

    def _write_group(self) -> None:
        self._file.write_group(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting = []
