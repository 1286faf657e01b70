"""The file of `--sources`: YAML -> sources of the user's own, checked before anything runs.

sources:
  - name: MyCorpus
    location: my-corpus                   # a folder, an archive, a URL (s3://...), or a repo on the Hub (owner/name)
    reader: table                         # parquet, table, kaldi or audiofolder
    columns: {audio: path, transcript: sentence, speaker: client_id}
    splits: {train: train.tsv, validation: dev.tsv, test: test.tsv}
    licence: cc-by-4.0

A relative path starts from the folder that the file is in. An error names the line, the key and what to type.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

from processors.configured.own_source import OwnSource
from processors.readers.spec import (
    AUDIO,
    SPEAKER,
    SPLIT_NAMES,
    TRANSCRIPT,
    Columns,
    Form,
    ParquetSpec,
    SourceSpec,
    SplitNames,
    TableSpec,
)
from processors.source_info import Location, SourceInfo
from utils.errors import UsageError
from utils.formats.yaml_lines import Lines, ValuePath, line_of, parse_yaml, read_text, unknown_key
from utils.rows.credentials import public, without_credentials
from utils.rows.printable import shown

_NOTHING: Final = "Nothing was changed."
_EXAMPLE: Final = (
    "sources:\n  - name: MyCorpus\n    location: my-corpus\n    reader: table\n"
    "    columns: {audio: path, transcript: sentence}\n    licence: cc-by-4.0"
)
_HUB_LICENCES: Final = frozenset(
    (
        *("cc0-1.0", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
        *("cc-by-nd-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
        *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "c-uda", "cdla-sharing-1.0", "cdla-permissive-1.0"),
        *("cdla-permissive-2.0", "odbl", "odc-by", "pddl", "gfdl", "apache-2.0", "mit", "bsd", "bsd-2-clause"),
        *("bsd-3-clause", "gpl", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "unlicense"),
        *("wtfpl", "unknown"),
    )
)
"""The values of `license` in a card that the Hub takes, as far as data comes under such a licence."""
_READERS: Final = ("parquet", "table", "kaldi", "audiofolder")
_KEYS: Final = (
    *("name", "location", "reader", "columns", "splits", "licence", "title", "url", "hours", "terms", "transcripts"),
    *("branch", "tables", "form", "header", "quoted"),
)
_ONLY_TABLE: Final = ("tables", "form", "header", "quoted")
_COLUMNS: Final = ("audio", "transcript", "speaker", "id", "split", "metadata")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_TAKEN: Final = ("all", "default", "dialogue", "samples")
_REPO: Final = re.compile(r"(?:hf://datasets/)?([A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)")


def load_sources(path: Path, taken: Collection[str]) -> dict[str, OwnSource]:
    """The sources of a file, by name; `taken` are the registered ones. UsageError for what is not understood."""
    text = read_text(path, "file of sources", _NOTHING, _EXAMPLE)
    content, lines = parse_yaml(text, path.name, _NOTHING)
    return _Reader(path, lines, taken).sources(content)


def _on_the_hub(licence: str) -> str:
    """The Hub's name of a licence (`CC BY 4.0` is cc-by-4.0); `other` where it knows none: it would refuse the card."""
    name = re.sub(r"[\s_]+", "-", licence.lower())
    return name if name in _HUB_LICENCES else "other"


def _without_secrets(url: str) -> str:
    """A source's page as the card may show it."""
    return url if without_credentials(url) == url else public(url)


@dataclass(frozen=True)
class _Reader:
    """Checks the content of a file, value by value."""

    path: Path
    lines: Lines
    taken: Collection[str]

    def sources(self, content: Any) -> dict[str, OwnSource]:
        listed = self._mapping(content, (), ("sources",)).get("sources")
        if not isinstance(listed, list) or not listed:
            raise self._wrong(("sources",), f"there must be a list of sources, such as:\n{_EXAMPLE}")
        found: dict[str, OwnSource] = {}
        for index, each in enumerate(listed):
            source = self._source(each, ("sources", index))
            if source.name.lower() in {name.lower() for name in (*found, *self.taken, *_TAKEN)}:
                raise self._wrong(("sources", index, "name"), f"name: {source.name!r} is taken. Choose another")
            found[source.name] = source
        return found

    def _source(self, content: Any, at: ValuePath) -> OwnSource:
        given = self._mapping(content, at, _KEYS)
        name, reader = self._name(given, at), self._one_of(given, "reader", _READERS, at)
        if reader is None:
            raise self._wrong(at, f"reader is missing: say how it is laid out ({', '.join(_READERS)})")
        spec = self._spec(given, reader, at)
        repo_id, location = self._location(given, at)
        branch = self._text(given, "branch", at)
        if branch and repo_id is None:
            raise self._wrong((*at, "branch"), "branch: only a repo on the Hub has branches")
        return OwnSource(name, self._info(given, name, repo_id, at), spec, location, branch)

    def _name(self, given: Mapping[str, Any], at: ValuePath) -> str:
        name = given.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise self._wrong(
                (*at, "name"), "name: each source needs one, of letters and digits, such as name: MyCorpus"
            )
        return name

    def _info(self, given: Mapping[str, Any], name: str, repo_id: str | None, at: ValuePath) -> SourceInfo:
        licence = self._text(given, "licence", at)
        if licence is None:
            raise self._wrong(
                at, "licence is missing: say under which the clips may be used, such as licence: cc-by-4.0"
            )
        page = f"https://huggingface.co/datasets/{repo_id}" if repo_id else ""
        return SourceInfo(
            title=self._text(given, "title", at) or name,
            url=_without_secrets(self._text(given, "url", at) or page),
            licence=_on_the_hub(licence),
            licence_name=licence,
            hours=self._text(given, "hours", at) or "not stated",
            mirror=repo_id or "",
            repo_id=repo_id,
            access="your own",
            terms=self._text(given, "terms", at),
            transcripts=self._text(given, "transcripts", at) or "not stated",
        )

    def _location(self, given: Mapping[str, Any], at: ValuePath) -> tuple[str | None, Location | None]:
        """A repo on the Hub, or where else it is. A name that a folder or a file has is that."""
        place = self._text(given, "location", at)
        if place is None:
            raise self._wrong(at, "location is missing: a folder, an archive, a URL, or a repo on the Hub (owner/name)")
        location = Location(place, self.path.parent)
        repo = _REPO.fullmatch(place)
        is_here = not location.is_url and os.path.exists(location.path)  # noqa: PTH110 - no path is too long for it
        if repo and is_here:
            return None, location
        if repo:
            return repo[1], None
        if not location.is_url and not is_here:
            raise self._wrong((*at, "location"), f"location: there is no folder and no file {shown(location.path)}")
        return None, location

    # --- how it is laid out ------------------------------------------------------------------

    def _spec(self, given: Mapping[str, Any], reader: str, at: ValuePath) -> SourceSpec:
        columns = self._columns(given, reader, at)
        splits = self._splits(given, at)
        for key in _ONLY_TABLE if reader != "table" else ():
            if key in given:
                raise self._wrong((*at, f"{key}:"), f"{key}: only the reader table knows that")
        if reader == "parquet":
            if columns.split:
                raise self._wrong((*at, "columns", "split"), "columns.split: splits of Parquet are files, not a column")
            return ParquetSpec(columns, splits)
        if reader == "kaldi":
            return TableSpec(columns, splits, form="kaldi")
        if reader == "audiofolder":
            columns = replace(columns, audio=("file_name", "audio_file_name", *columns.audio))
            return TableSpec(columns, splits, tables=("metadata.csv", "metadata.jsonl"))
        return TableSpec(
            columns,
            splits,
            tables=self._texts(given, "tables", at),
            form=self._form(given, at),
            header=self._texts(given, "header", at),
            quoted=self._flag(given, "quoted", at),
        )

    def _columns(self, given: Mapping[str, Any], reader: str, at: ValuePath) -> Columns:
        at = (*at, "columns")
        named = self._mapping(given.get("columns", {}), at, _COLUMNS)
        if reader == "kaldi" and named:
            raise self._wrong((*at[:-1], "columns:"), "columns: Kaldi's files have none")
        required = [name for name in named if named[name] is not None]
        one = {name: self._texts(named, name, at) for name in _COLUMNS}
        for name in ("audio", "speaker", "id", "split", "transcript"):
            if len(one[name]) > 1:
                raise self._wrong((*at, name), f"columns.{name} is the name of one column")
        has_text = "transcript" not in named or named["transcript"] is not None
        return Columns(
            audio=one["audio"] or AUDIO,
            transcript=(one["transcript"] or TRANSCRIPT) if has_text else (),
            speaker=one["speaker"] or (SPEAKER if "speaker" not in named else ()),
            id=one["id"],
            split=one["split"],
            metadata=one["metadata"],
            required=tuple(dict.fromkeys(["audio", *(["transcript"] if has_text else []), *required])),
        )

    def _splits(self, given: Mapping[str, Any], at: ValuePath) -> SplitNames:
        at = (*at, "splits")
        named = self._mapping(given.get("splits", {}), at, SPLIT_NAMES)
        splits = {split: self._texts(named, split, at) for split in named}
        empty = next((split for split, patterns in splits.items() if not patterns), None)
        if empty:
            raise self._wrong(
                (*at, empty), f"splits.{empty} is the name of its files, such as {empty}/*.parquet, or a list"
            )
        return splits

    def _form(self, given: Mapping[str, Any], at: ValuePath) -> Form:
        form: Form | None = self._one_of(given, "form", [form for form in get_args(Form) if form], at)
        return form or ""

    # --- values ------------------------------------------------------------------------------

    def _mapping(self, content: Any, path: ValuePath, known: Collection[str]) -> dict[str, Any]:
        if not isinstance(content, dict):
            where = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
            raise self._wrong(path, f"{where}here must be `key: value` lines ({', '.join(known)})")
        for key in content:
            if key not in known:
                raise self._wrong((*path, f"{key}:"), unknown_key(key, known), end="")
        return content

    def _text(self, given: Mapping[str, Any], key: str, at: ValuePath) -> str | None:
        value = given.get(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value:#x}" if isinstance(value, int) and value.bit_length() > 64 else str(value)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong((*at, key), f"{key} is a text")
        return value.strip()

    def _texts(self, given: Mapping[str, Any], key: str, at: ValuePath) -> tuple[str, ...]:
        """One text or a list of such."""
        value = given.get(key)
        texts = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise self._wrong((*at, key), f"{key} is a text, or a list of such")
        return tuple(texts)

    def _flag(self, given: Mapping[str, Any], key: str, at: ValuePath) -> bool:
        value = given.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong((*at, key), f"{key} is true or false")
        return value

    def _one_of(self, given: Mapping[str, Any], key: str, known: Collection[str], at: ValuePath) -> Any:
        value = given.get(key)
        if value is not None and value not in known:
            raise self._wrong((*at, key), f"{key}: {shown(repr(value))} is not known. Known: {', '.join(known)}")
        return value

    def _wrong(self, path: ValuePath, problem: str, end: str = ".") -> UsageError:
        return UsageError(f"{self.path.name}, line {line_of(path, self.lines)}: {problem}{end} {_NOTHING}")
