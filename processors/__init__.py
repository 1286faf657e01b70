"""The registry: the only list of sources. A new source is one file beside this one and one line here.

Their modules are imported when they are first asked for, so that `--help` need not load Arrow.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from utils.errors import UsageError

if TYPE_CHECKING:
    from processors.base_processor import BaseProcessor, ProcessorConfig, SourceInfo

_SOURCES = {
    "GigaSpeech2": "processors.gigaspeech2",
    "ProcessedVoiceTH": "processors.processed_voice_th",
    "MozillaCommonVoice": "processors.mozilla_cv",
}
"""Registry name, which is also the class's name -> module; in the order in which sources are read."""

ALIASES = {"MozillaCV": "MozillaCommonVoice"}


class _Registry(Mapping[str, "type[BaseProcessor]"]):
    """Source name -> processor class."""

    def __getitem__(self, name: str) -> "type[BaseProcessor]":
        processor: type[BaseProcessor] = getattr(import_module(_SOURCES[name]), name)
        return processor

    def __iter__(self) -> Iterator[str]:
        return iter(_SOURCES)

    def __len__(self) -> int:
        return len(_SOURCES)


REGISTRY: Mapping[str, "type[BaseProcessor]"] = _Registry()


def create(name: str, config: "ProcessorConfig | Mapping[str, Any] | None" = None) -> "BaseProcessor":
    """The processor of a source, by its name or an alias. UsageError, naming the nearest, where there is none."""
    return _class_of(name)(config)


def describe(name: str) -> "SourceInfo":
    """What is known of a source without opening it."""
    info = _class_of(name).info
    if info is None:
        raise UsageError(f"{name} has no description (`info`).")
    return info


def _class_of(name: str) -> "type[BaseProcessor]":
    known = [*REGISTRY, *ALIASES]
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"There is no source {name!r}.{hint} Known: {', '.join(known)}.")
    return REGISTRY[ALIASES.get(name, name)]
