"""Sources that are pure configuration: a `SourceInfo`, a spec, and perhaps a place of their own."""

from processors.base_processor import BaseProcessor
from processors.readers.spec import SourceSpec
from processors.source_info import Location, SourceInfo
from utils.errors import SourceError
from utils.sources.source_files import SourceFiles, open_source
from utils.sources.url_files import open_folder_or_file, open_url


class ConfiguredSource(BaseProcessor):
    """A source whose class says in `spec` how it is laid out. `ParquetSource` and `TableSource` read it."""

    spec: SourceSpec
    branch: str | None = None
    """The branch of its repo on the Hub to read; None: the main one."""
    location: Location | None = None
    """Where it lies, if that is neither a repo on the Hub nor a mirror."""

    def get_available_splits(self) -> list[str]:
        splits = super().get_available_splits()
        return [split for split in splits if split in self.spec.splits] if self.spec.splits else splits

    @property
    def keeps_revisions(self) -> bool:
        return self.location is None and super().keeps_revisions

    def open_files(self, info: SourceInfo) -> SourceFiles:
        access = self.config.access
        if self.location is not None:
            if self.location.is_url:
                return open_url(self.location.place, access, self.revision)
            return open_folder_or_file(self.location.path, self.revision)
        has_mirror = access.source_dir is not None and (access.source_dir / info.mirror).is_dir()
        if info.is_by_hand and not has_mirror:
            raise SourceError(f"{self.name} is not on the Hub, and there is no mirror of it. {self._how_to_get(info)}")
        return open_source(info.mirror, info.repo_id, access, self.revision, self.branch)

    def _how_to_get(self, info: SourceInfo) -> str:
        source_dir = self.config.access.source_dir or "DIR"
        return (
            f"Get it from {info.url} and put it, as it comes or extracted, into {source_dir}/{info.mirror}/. "
            f"Then run again with --source-dir {source_dir}."
        )
