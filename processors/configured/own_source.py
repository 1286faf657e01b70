"""A source of the user's own: a value that says all of it, and the processor that it becomes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from processors.readers.spec import ParquetSpec, SourceSpec
from processors.source_info import Location, SourceInfo

if TYPE_CHECKING:
    from processors.configured.configured_source import ConfiguredSource


@dataclass(frozen=True)
class OwnSource:
    """One source of a `--sources` file."""

    name: str
    info: SourceInfo
    spec: SourceSpec
    location: Location | None = None
    """None: a repo on the Hub."""
    branch: str | None = None

    def processor_class(self) -> "type[ConfiguredSource]":
        """A class as a registered source has one."""
        from processors.configured.parquet_source import ParquetSource  # they load Arrow
        from processors.configured.table_source import TableSource

        base: type[ConfiguredSource] = ParquetSource if isinstance(self.spec, ParquetSpec) else TableSource
        own = {"name": self.name, "info": self.info, "spec": self.spec, "location": self.location}
        return type(f"{self.name}Processor", (base,), {**own, "branch": self.branch, "__doc__": self.info.title})

    def definition(self) -> Mapping[str, Any]:
        """What changes what is read, as JSON values: part of what a source was begun with.

        Where a folder, an archive or a URL is, is none of that: it may move, and its revision tells it from others.
        """
        spec = asdict(self.spec)
        values = {"reader": type(self.spec).__name__, "repo": self.info.repo_id, "branch": self.branch, **spec}
        columns = values.pop("columns")
        flat = {**values, **{f"columns.{name}": value for name, value in columns.items() if name != "required"}}
        return {
            f"source.{name}": _as_json(value) for name, value in flat.items() if value not in (None, (), {}, "", False)
        }


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    return value
