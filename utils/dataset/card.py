"""The dataset card (`README.md` of the published dataset) from the state. Pure.

A card is three things: YAML for the Hub and for `datasets`, a block for people between two marks, and
whatever somebody wrote by hand. Only the first two are ours. So, of a card that is there already:

- YAML keys that are not ours stay as they were typed, comments too; ours win; tags are added to.
- Text outside our marks is kept byte for byte. Where there is no block of ours yet, it goes to the end:
  what a person wrote for the readers stays the first thing that they read.
- YAML that can't be read is text as well, kept below ours.

The content comes from the data alone (no times, no run ids), so the same state gives the same card.
Whatever a source says of itself is shown as it stands and never becomes markup.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from glob import escape as literal
from typing import Any

import yaml

from utils.dataset.card_text import (
    BEGIN,
    END_LINE,
    TITLE,
    about_field,
    block_for_people,
    clip_count,
    published_sources,
    published_splits,
    safe_url,
)
from utils.dataset.state import SourceState, State
from utils.rows.schema import DIALOGUE, ROW_SCHEMAS, SPEECH, SPLITS, RowSchema, hf_features

DEFAULT_CONFIG = "default"
TAGS = ("audio", "speech", "thai")
OUR_KEYS = (
    "pretty_name",
    "language",
    "license",
    "license_name",
    "license_link",
    "task_categories",
    "size_categories",
    "source_datasets",
    "tags",
    "configs",
    "dataset_info",
)

MAX_YAML = 256 * 1024
"""Characters at the top of a card that are read as YAML, which takes 10 us each. Longer ones stay as text."""
MAX_YAML_VALUES = 100_000

_OUR_PATH = re.compile(
    rf"({'|'.join(rows.folder for rows in ROW_SCHEMAS.values())})/({'|'.join(SPLITS)})/[^/]*\.parquet"
)
# The Hub's own idea of where the YAML ends, but for an empty block and a byte order mark, which we take too.
_FRONT_MATTER = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)(?:(?<=\n)|\r?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
# The mark that begins a block must be the last one before its end: after a damaged block, text that
# stands between a lonely beginning and a later block is not ours to replace.
_BLOCK = re.compile(rf"^{re.escape(BEGIN)}(?:(?!{re.escape(BEGIN)}).)*?{re.escape(END_LINE)}", re.DOTALL | re.MULTILINE)


def render_card(state: State, existing: str | None, repo_id: str | None = None) -> str:
    """The card of `state`, made from the card that is there (None: there is none).

    `repo_id` is the dataset's name on the Hub, None for a folder. Rendering a rendered card changes
    nothing. Until the first shard of a fresh start is committed the old data is still what a
    reader finds, so the card that describes it is left alone.
    """
    if state.replaces_old_data and existing is not None:
        return existing
    theirs, text = _parted(existing or "")
    front_matter = _front_matter(_metadata(state, repo_id), theirs)
    if theirs and len(front_matter) > MAX_YAML:  # it could not be read again
        text, front_matter = existing or "", _front_matter(_metadata(state, repo_id), "")
    return f"---\n{front_matter}---\n{_with_block(text, block_for_people(state, repo_id))}"


# --- the card that is there ------------------------------------------------------------------


def _parted(existing: str) -> tuple[str, str]:
    """The YAML source of a card and the text below it; YAML that can't be read is left in the text."""
    match = _FRONT_MATTER.match(existing)
    if match is None:
        return "", existing
    source = match[1] if match[1].endswith("\n") or not match[1] else match[1] + "\n"
    return ("", existing) if _mapping(source) is None else (source, existing[match.end() :])


def _mapping(source: str) -> dict[Any, Any] | None:
    """What YAML source says, {} where it says nothing, None where it can't be read or is no mapping."""
    content = _read(source) if len(source) <= MAX_YAML else None
    return deepcopy(content)


@lru_cache(maxsize=8)
def _read(source: str) -> dict[Any, Any] | None:
    """Remembered: what one commit writes, the next one reads, and reading YAML takes longer than a small shard."""
    try:
        loader = yaml.SafeLoader(source)
        root = loader.get_single_node()
        if _size_written_out(root, {}) > MAX_YAML_VALUES:
            return None
        content = loader.construct_document(root) if root is not None else None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, TypeError, RecursionError):
        return None  # the others are what PyYAML raises for a value that its tag doesn't fit (`!!bool maybe`)
    if content is None:
        return {}
    return content if isinstance(content, dict) else None


def _size_written_out(node: yaml.Node | None, known: dict[int, float]) -> float:
    """The values in a piece of YAML with every alias written out: ten lines of them may stand for billions."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # where it holds itself
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_size_written_out(part, known) for part in parts)
    return known[id(node)]


def _with_block(text: str, block: str) -> str:
    match = _BLOCK.search(text)
    if match:
        return text[: match.start()] + block + text[match.end() :]
    if text and not text.endswith("\n"):
        text += "\n"
    return f"{text}\n{block}\n"


def _front_matter(ours: dict[str, Any], source: str) -> str:
    theirs = _mapping(source) or {}
    ours["tags"] = [*TAGS, *(tag for tag in _tags(theirs) if tag not in TAGS)]
    _keep_configs_of_others(ours, theirs)
    kept = {key: value for key, value in theirs.items() if key not in OUR_KEYS}
    verbatim = _dump(ours) + _lines_of_others(source)
    # Whether cutting lines was right (it isn't for `{a: 1}`, say) is seen by reading the result.
    if _mapping(verbatim) == {**kept, **ours}:
        return verbatim
    return _dump(ours) + (yaml.safe_dump(kept, sort_keys=False, allow_unicode=True) if kept else "")


def _tags(theirs: Mapping[Any, Any]) -> list[str]:
    tags = theirs.get("tags")
    found = [tags] if isinstance(tags, str) else tags if isinstance(tags, list) else []
    return list(dict.fromkeys(tag for tag in found if isinstance(tag, str)))


def _keep_configs_of_others(ours: dict[str, Any], theirs: Mapping[Any, Any]) -> None:
    """Somebody's own configs (`push_to_hub` makes them) stay behind ours, with what is said of their features."""
    named = {config["config_name"] for config in ours.get("configs", [])}
    kept = [
        {key: value for key, value in config.items() if key != "default"}
        for config in _entries(theirs.get("configs"))
        if config["config_name"] not in named and not _is_config_of_ours(config)
    ]
    names = {config["config_name"] for config in kept}
    infos = [info for info in _entries(theirs.get("dataset_info")) if info["config_name"] in names]
    for key, entries in (("configs", kept), ("dataset_info", infos)):
        if entries:
            ours[key] = [*ours.get(key, []), *entries]


def _entries(value: object) -> list[dict[str, Any]]:
    """The entries of `configs` or `dataset_info` that have a name."""
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, dict) and isinstance(one.get("config_name"), str)]


def _is_config_of_ours(config: Mapping[str, Any]) -> bool:
    """Whether it names shards of ours and nothing else: one that we wrote, perhaps of a source that is no more."""
    files = config.get("data_files")
    listed = files if isinstance(files, list) else [files]
    paths = [one.get("path") if isinstance(one, dict) else one for one in listed]
    return bool(paths) and all(isinstance(path, str) and _OUR_PATH.fullmatch(path) for path in paths)


def _lines_of_others(source: str) -> str:
    """The lines of all keys that are not ours, and all comment lines, as they were typed."""
    root = yaml.compose(source, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or not root.value:
        return _comments(source)
    starts = [key.start_mark.index for key, _ in root.value]
    lines = [_comments(source[: starts[0]])]
    for (key, _), start, end in zip(root.value, starts, [*starts[1:], len(source)], strict=True):
        piece = source[start:end]
        is_ours = isinstance(key, yaml.ScalarNode) and key.value in OUR_KEYS
        lines.append(_comments(piece) if is_ours else piece)
    return "".join(lines)


def _comments(source: str) -> str:
    return "".join(re.findall(r"^#.*\n", source, re.MULTILINE))


# --- YAML ------------------------------------------------------------------------------------


class _NoAliases:
    """Writes equal parts out each time: `&id001` is legal, but nobody wants to read it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Dumper(_NoAliases, yaml.SafeDumper):
    """In Python."""


class _FastDumper(_NoAliases, getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """In C where there is libyaml: the same text in a quarter of the time. (Its reader we don't use: what others wrote
    may be nested so deeply that it crashes.)"""


def _dump(content: Mapping[str, Any]) -> str:
    try:
        return str(yaml.dump(dict(content), Dumper=_FastDumper, sort_keys=False, width=1000))
    except UnicodeEncodeError:  # half a character, which only Python writes
        return str(yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, width=1000))


def _metadata(state: State, repo_id: str | None) -> dict[str, Any]:
    published = published_sources(state)
    repos = [str(source.about["repo_id"]) for source in published.values() if source.about.get("repo_id")]
    configs = _configs(state)
    return {
        "pretty_name": TITLE,
        "language": ["th"],
        **_licence(list(published.values()), repo_id),
        "task_categories": _tasks(state),
        "size_categories": [_size_category(clip_count(state))],
        **({"source_datasets": repos} if repos else {}),
        "tags": list(TAGS),
        **({"configs": configs} if configs else {}),
        **({"dataset_info": infos} if (infos := _dataset_info(state)) else {}),
    }


def _tasks(state: State) -> list[str]:
    dialogue = published_sources(state, DIALOGUE)
    speech = published_sources(state, SPEECH) or not dialogue
    return [
        *(["automatic-speech-recognition", "text-to-speech"] if speech else []),
        *(["text-generation"] if dialogue else []),
    ]


def _licence(published: Sequence[SourceState], repo_id: str | None) -> dict[str, str]:
    """The one licence of all sources, or `other` with a name and a link to where they are told apart."""
    if not published:
        return {}
    licences = {about_field(source, "licence") or "unknown" for source in published}
    names = {about_field(source, "licence_name") for source in published}
    if licences == {"other"} and len(names) == 1:
        links = sorted({url for source in published if (url := safe_url(about_field(source, "url")))})
        return _other_licence(names.pop(), links[0] if len(links) == 1 else None)
    if len(licences) == 1 and licences != {"other"}:
        return {"license": licences.pop()}
    # A folder has no address to link to, and the Hub takes nothing but an address or LICENSE here.
    page = f"https://huggingface.co/datasets/{repo_id}#sources-and-licences" if repo_id else None
    return _other_licence("several-see-sources", page)


def _other_licence(name: str, link: str | None) -> dict[str, str]:
    slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "see-sources"
    return {"license": "other", "license_name": slug, **({"license_link": link} if link else {})}


def _size_category(clips: int) -> str:
    bounds = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    if clips < 1000:
        return f"n<{bounds[0]}"
    for power, (low, high) in enumerate(zip(bounds, bounds[1:], strict=False), start=4):
        if clips < 10**power:
            return f"{low}<n<{high}"
    return f"n>{bounds[-1]}"


def _configs(state: State) -> list[dict[str, Any]]:
    """The default config has all speech; then one per source of speech, one for each other kind of rows.

    They name the folders of shards alone: rejects and state stay out.
    """
    configs: list[dict[str, Any]] = []
    for rows in ROW_SCHEMAS.values():
        published = published_sources(state, rows)
        if not published:
            continue
        splits = published_splits(published.values())
        everything = [{"split": split, "path": f"{rows.folder}/{split}/*.parquet"} for split in splits]
        is_default = {"default": True} if rows is SPEECH else {}
        configs.append({"config_name": _config_name(rows), "data_files": everything, **is_default})
        for name, source in _with_own_config(rows, published).items():
            files = _shards_glob(name, published)
            paths = [{"split": split, "path": f"{rows.folder}/{split}/{files}"} for split in published_splits([source])]
            configs.append({"config_name": name, "data_files": paths})
    if not configs and any(split.parts for source in state.sources.values() for split in source.splits.values()):
        # Without any, a reader would take the files that there are, the rejects, for the split that they lie in.
        nothing_yet = [{"split": "train", "path": f"{SPEECH.folder}/train/*.parquet"}]
        configs.append({"config_name": DEFAULT_CONFIG, "data_files": nothing_yet, "default": True})
    return configs


def _config_name(rows: RowSchema) -> str:
    return DEFAULT_CONFIG if rows is SPEECH else rows.name


def _with_own_config(rows: RowSchema, published: Mapping[str, SourceState]) -> Mapping[str, SourceState]:
    return published if rows is SPEECH else {}


def _shards_glob(name: str, others: Iterable[str]) -> str:
    """A pattern for the shards of this source, and of no other whose name goes on with a hyphen."""
    is_prefix = any(other.startswith(f"{name}-") for other in others)
    return f"{literal(name)}-{'?????' if is_prefix else '*'}.parquet"


def _dataset_info(state: State) -> list[dict[str, Any]]:
    infos: list[dict[str, Any]] = []
    for rows in ROW_SCHEMAS.values():
        if published := published_sources(state, rows):
            infos.append(_config_info(state, _config_name(rows), rows, list(published.values())))
            own = _with_own_config(rows, published)
            infos += [_config_info(state, name, rows, [source]) for name, source in own.items()]
    return infos


def _config_info(state: State, config: str, rows: RowSchema, sources: Sequence[SourceState]) -> dict[str, Any]:
    """Sizes and features of one config. `datasets` compares num_examples; sizes are those of the shards."""
    splits: list[dict[str, Any]] = []
    for name in published_splits(sources):
        parts = [source.splits[name] for source in sources if name in source.splits]
        size_bytes = sum(part.size_bytes for part in parts)
        clips = sum(part.published for part in parts)
        splits.append({"name": name, "num_bytes": size_bytes, "num_examples": clips})
    total_bytes = sum(split["num_bytes"] for split in splits)
    return {
        "config_name": config,
        "features": _features(state.sample_rate_hz, rows),
        "splits": splits,
        "download_size": total_bytes,
        "dataset_size": total_bytes,
    }


def _features(sample_rate_hz: int | None, rows: RowSchema) -> list[dict[str, Any]]:
    """The features as `datasets` writes them in a card."""
    audio: Any = "audio" if sample_rate_hz is None else {"audio": {"sampling_rate": sample_rate_hz}}
    return [
        {"name": name, "dtype": audio if kind["_type"] == "Audio" else kind["dtype"]}
        for name, kind in hf_features(sample_rate_hz, rows).items()
    ]
