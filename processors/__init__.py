"""The registry: the only list of sources. A new source is one file beside this one and one line here.

Their modules are imported when they are first asked for, so that `--help` need not load Arrow.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from processors.catalog import CATALOG
from utils.errors import UsageError

if TYPE_CHECKING:
    from processors.base_processor import BaseProcessor, ProcessorConfig
    from processors.configured.own_source import OwnSource
    from processors.source_info import SourceInfo

_SOURCES = {
    "GigaSpeech2": "processors.gigaspeech2",
    "ProcessedVoiceTH": "processors.processed_voice_th",
    "MozillaCommonVoice": "processors.mozilla_cv",
    "FLEURS": "processors.corpora",
    "PorjaiCentral": "processors.corpora",
    "ThaiDialectKorat": "processors.corpora",
    "ThaiDialectKhummuang": "processors.corpora",
    "ThaiDialectPattani": "processors.corpora",
    "ThaiElderly": "processors.corpora",
    "Gowajee": "processors.corpora",
    "LOTUS": "processors.corpora",
    "TSync1": "processors.corpora",
    "TSync2": "processors.corpora",
    "ThaiSER": "processors.corpora",
    "YODAS2": "processors.corpora",
    "TVSpeech": "processors.corpora",
}
"""Registry name (the class is `{name}Processor`) -> module; in the order in which sources are read."""

PAID = {"Apify": "processors.apify.processor"}
"""Sources that cost money: known by their names, but never part of all."""

MADE_FROM = {"ProcessedVoiceTH": "MozillaCommonVoice"}
"""Sources whose recordings are another one's, encoded again."""

OwnSources: TypeAlias = "Mapping[str, OwnSource]"
_NONE: OwnSources = MappingProxyType({})

ALIASES = {"MozillaCV": "MozillaCommonVoice"}


class _Registry(Mapping[str, "type[BaseProcessor]"]):
    """Source name -> processor class. It lists all sources but the paid ones, which are there when asked for."""

    def __getitem__(self, name: str) -> "type[BaseProcessor]":
        module = import_module({**_SOURCES, **PAID}[name])
        processor: type[BaseProcessor] = getattr(module, f"{name}Processor")
        return processor

    def __iter__(self) -> Iterator[str]:
        return iter(_SOURCES)

    def __len__(self) -> int:
        return len(_SOURCES)


REGISTRY: Mapping[str, "type[BaseProcessor]"] = _Registry()


def module_name(name: str) -> str:
    """The last part of the name of a source's module, which its demo's module has, too."""
    return _SOURCES[name].rpartition(".")[2]


IN_DEMO = tuple(
    name for name in _SOURCES if Path(__file__).with_name("demo").joinpath(f"{module_name(name)}.py").exists()
)
"""The sources that `--demo` makes up: those with a module in `processors/demo/`."""


def create(
    name: str, config: "ProcessorConfig | Mapping[str, Any] | None" = None, own: OwnSources = _NONE
) -> "BaseProcessor":
    """The processor of a source, by its name or an alias. UsageError, naming the nearest, where there is none.

    `own` are the user's own sources, by name.
    """
    return _class_of(name, own)(config)


def describe(name: str, own: OwnSources = _NONE) -> "SourceInfo":
    """What is known of a source without opening it."""
    name = source_name(name, own)
    info = own[name].info if name in own else CATALOG.get(name) or _class_of(name).info
    if info is None:
        raise UsageError(f"{name} has no description (`info`).")
    return info


def source_name(given: str, own: Iterable[str] = ()) -> str:
    """The source that `given` names, whatever its case. UsageError, naming the nearest, where there is none."""
    names = {name.lower(): name for name in (*REGISTRY, *own, *PAID)} | {
        alias.lower(): name for alias, name in ALIASES.items()
    }
    if given.lower() in names:
        return names[given.lower()]
    near = get_close_matches(given.lower(), names, n=1, cutoff=0.6)
    hint = f" Did you mean {names[near[0]]}?" if near else ""
    yours = "" if [*own] else " Sources of your own are known with --sources FILE only."
    raise UsageError(
        f"There is no source {given!r}.{hint} Known: {', '.join([*REGISTRY, *own, *ALIASES, *PAID])}.{yours}"
    )


def _class_of(name: str, own: OwnSources = _NONE) -> "type[BaseProcessor]":
    name = source_name(name, own)
    return own[name].processor_class() if name in own else REGISTRY[name]
