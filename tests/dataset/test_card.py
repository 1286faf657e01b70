"""The dataset card: what the Hub and `datasets` read of it, what people read, and what it leaves alone."""

import html
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.dataset.card import render_card
from utils.dataset.card_text import BEGIN, BEGIN_LINE, END_LINE, duration_text, escaped
from utils.dataset.state import Part, SourceState, SplitState, State
from utils.rows.printable import one_line
from utils.rows.progress import Progress
from utils.rows.schema import REJECTED_SCHEMA, hf_features, published_schema

GIGASPEECH = {
    "title": "GigaSpeech 2",
    "url": "https://huggingface.co/datasets/speechcolab/gigaspeech2",
    "licence": "other",
    "licence_name": "GigaSpeech 2 terms",
    "repo_id": "speechcolab/gigaspeech2",
    "terms": "Non-commercial research and education only.",
}
COMMON_VOICE = {
    "title": "Common Voice",
    "url": "https://commonvoice.example/th",
    "licence": "cc0-1.0",
    "licence_name": "CC0 1.0",
    "repo_id": None,
    "terms": None,
}
SHARE_ALIKE = {**COMMON_VOICE, "licence": "cc-by-sa-4.0", "licence_name": "CC BY-SA 4.0"}


def source(about: dict[str, Any]) -> SourceState:
    return SourceState(revision="0123abcd", fingerprint={"audio.target_dbfs": -20.0, "max_shard_mb": 400}, about=about)


def grown(state: State, name: str, split: str, rows: int, rejects: int = 0, size_bytes: int = 1000) -> State:
    """The state after one more part, each of its clips a second long."""
    before = state.split(name, split)
    progress = Progress(
        {"index": before.progress.read + rows + rejects},
        before.progress.read + rows + rejects,
        before.progress.kept + rows,
        before.progress.rejected + rejects,
    )
    ids = ((state.next_id, state.next_id + rows - 1),) if rows else ()
    return state.after(Part(name, split, before.parts, progress, rows, ids, float(rows), size_bytes, rejects > 0))


def published(**sources: dict[str, Any]) -> State:
    """A dataset of these sources (by name, what is said about each), with 3 clips and 1 reject in train each."""
    state = State(generation="g1", sample_rate_hz=16000)
    for name, about in sources.items():
        state = grown(state.with_source(name, source(about)), name, "train", rows=3, rejects=1)
    return state


@pytest.fixture
def state() -> State:
    """Two sources; GigaSpeech2 in two splits."""
    both = published(GigaSpeech2=GIGASPEECH, MozillaCommonVoice=COMMON_VOICE)
    return grown(both, "GigaSpeech2", "test", rows=2)


def front_matter(card: str) -> dict[str, Any]:
    _, source_text, _ = card.split("---\n", 2)
    content: dict[str, Any] = yaml.safe_load(source_text)
    return content


def block(card: str) -> str:
    _, _, text = card.split("---\n", 2)
    return text[text.index(BEGIN) : text.index(END_LINE) + len(END_LINE)]


# --- YAML ------------------------------------------------------------------------------------


def test_configs_are_one_for_everything_and_one_for_each_source_by_split(state: State) -> None:
    """`load_dataset(repo)` is everything, `load_dataset(repo, "GigaSpeech2")` one source; `data/` alone is named."""
    configs = front_matter(render_card(state, None))["configs"]

    assert configs == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "data/train/*.parquet"},
                {"split": "test", "path": "data/test/*.parquet"},
            ],
            "default": True,
        },
        {
            "config_name": "GigaSpeech2",
            "data_files": [
                {"split": "train", "path": "data/train/GigaSpeech2-*.parquet"},
                {"split": "test", "path": "data/test/GigaSpeech2-*.parquet"},
            ],
        },
        {
            "config_name": "MozillaCommonVoice",
            "data_files": [{"split": "train", "path": "data/train/MozillaCommonVoice-*.parquet"}],
        },
    ]


def test_dataset_info_has_the_sizes_of_every_config_and_split(state: State) -> None:
    """Clips and bytes are those of the state, summed where a config has several sources."""
    infos = front_matter(render_card(state, None))["dataset_info"]

    assert [info["config_name"] for info in infos] == ["default", "GigaSpeech2", "MozillaCommonVoice"]
    assert infos[0]["splits"] == [
        {"name": "train", "num_bytes": 2000, "num_examples": 6},
        {"name": "test", "num_bytes": 1000, "num_examples": 2},
    ]
    assert infos[0]["download_size"] == infos[0]["dataset_size"] == 3000
    assert infos[2]["splits"] == [{"name": "train", "num_bytes": 1000, "num_examples": 3}]


@pytest.mark.parametrize("rate", [16000, None])
def test_features_are_written_as_datasets_writes_them(state: State, rate: int | None) -> None:
    """The card's features are what `datasets` itself would have written for the published columns."""
    from datasets import Features

    infos = front_matter(render_card(replace(state, sample_rate_hz=rate), None))["dataset_info"]

    features = Features.from_dict(hf_features(rate))
    assert all(info["features"] == features._to_yaml_list() for info in infos)
    assert Features._from_yaml_list(infos[0]["features"]) == features


def test_a_licence_that_all_sources_share_is_the_datasets() -> None:
    """One licence needs no name and no link."""
    content = front_matter(render_card(published(A=SHARE_ALIKE, B=SHARE_ALIKE), None, "me/voice"))

    assert content["license"] == "cc-by-sa-4.0"
    assert "license_name" not in content
    assert "license_link" not in content


def test_several_licences_are_other_with_a_link_to_where_they_are_told_apart(state: State) -> None:
    """The link leads to the card's own section; a folder has no address, so none is made up."""
    content = front_matter(render_card(state, None, "me/voice"))
    of_a_folder = front_matter(render_card(state, None))

    assert content["license"] == "other"
    assert content["license_name"] == "several-see-sources"
    assert content["license_link"] == "https://huggingface.co/datasets/me/voice#sources-and-licences"
    assert "## Sources and licences" in render_card(state, None)
    assert of_a_folder["license"] == "other"
    assert "license_link" not in of_a_folder


def test_one_licence_of_its_own_is_named_and_linked() -> None:
    """`other` says which: the source's name for it, in the form that the Hub takes, and the source's page."""
    content = front_matter(render_card(published(GigaSpeech2=GIGASPEECH), None, "me/voice"))

    assert content["license"] == "other"
    assert content["license_name"] == "gigaspeech-2-terms"
    assert content["license_link"] == GIGASPEECH["url"]


def test_a_source_without_published_clips_does_not_count_for_the_licence(state: State) -> None:
    """Nothing of it is in the dataset: no config, no licence, no source dataset; its rejects are still listed."""
    only_rejects = State("g1", 16000).with_source("GigaSpeech2", source(GIGASPEECH))
    only_rejects = grown(only_rejects, "GigaSpeech2", "train", rows=0, rejects=4)
    only_rejects = grown(only_rejects.with_source("B", source(SHARE_ALIKE)), "B", "test", rows=1)
    card = render_card(only_rejects, None)

    content = front_matter(card)
    assert content["license"] == "cc-by-sa-4.0"
    assert "source_datasets" not in content
    assert [config["config_name"] for config in content["configs"]] == ["default", "B"]
    assert "rejected/train/GigaSpeech2-\\*.parquet: 4" in card


def test_a_source_that_says_nothing_of_its_licence_is_unknown_not_free() -> None:
    """No licence is made up."""
    content = front_matter(render_card(published(Mystery={"title": "?"}), None))

    assert content["license"] == "unknown"


@pytest.mark.parametrize(
    ("clips", "category"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (169_610, "100K<n<1M"),
        (9_999_999, "1M<n<10M"),
        (10_000_000, "10M<n<100M"),
        (10**12, "n>1T"),
    ],
)
def test_the_size_category_is_the_hubs(clips: int, category: str) -> None:
    """The Hub's own names of sizes, by powers of ten."""
    state = State("g1", 16000).with_source("A", source(SHARE_ALIKE))
    state = grown(state, "A", "train", clips) if clips else state

    assert front_matter(render_card(state, None))["size_categories"] == [category]


def test_a_source_whose_name_begins_like_anothers_takes_none_of_its_shards() -> None:
    """`Porjai-*.parquet` would match the shards of `Porjai-central` as well, so the pattern counts digits."""
    card = render_card(published(**{"Porjai": SHARE_ALIKE, "Porjai-central": SHARE_ALIKE}), None)

    paths = {config["config_name"]: config["data_files"][0]["path"] for config in front_matter(card)["configs"]}
    assert paths["Porjai"] == "data/train/Porjai-?????.parquet"
    assert paths["Porjai-central"] == "data/train/Porjai-central-*.parquet"


# --- the card that is there ------------------------------------------------------------------

THEIRS = """---
# typed by a person
license: mit
extra_gated_prompt: "Be kind"
version: 1.10
tags:
- dialects   # ours too
- thai
paper:
  - title: พูด
    url: https://example.org
---

# My notes

Read this *first*.\r
trailing spaces   \

"""


def test_rendering_a_rendered_card_changes_nothing(state: State) -> None:
    """Neither a new card, nor one that was there, nor one with a repo id."""
    for existing in (None, "", THEIRS, "no YAML at all", "---\nbroken: [\n---\ntext\n", "---\n---\n"):
        card = render_card(state, existing, "me/voice")

        assert render_card(state, card, "me/voice") == card


def test_keys_of_others_are_kept_as_they_were_typed_and_ours_win(state: State) -> None:
    """`1.10` stays `1.10`, comments stay; the licence is ours to say; tags are added to."""
    card = render_card(state, THEIRS)

    content = front_matter(card)
    assert 'extra_gated_prompt: "Be kind"\nversion: 1.10\n' in card
    assert "# typed by a person\n" in card
    assert content["paper"] == [{"title": "พูด", "url": "https://example.org"}]
    assert content["license"] == "other"
    assert content["tags"] == ["audio", "speech", "thai", "dialects"]


def test_text_outside_our_block_is_kept_byte_for_byte_and_stays_first(state: State) -> None:
    """What a person wrote stands above a block that is new, line ends and trailing spaces as they were."""
    text = THEIRS.split("---\n", 2)[2]
    card = render_card(state, THEIRS)

    _, _, below = card.split("---\n", 2)
    assert below.startswith(text)
    assert below.removeprefix(text).strip().startswith(BEGIN_LINE)


def test_a_block_of_ours_is_replaced_where_it_stands(state: State) -> None:
    """Text above and below it is kept byte for byte."""
    above, below = "\r\nAbove, แถวบน\t\n\n", "\n  below, no line end"
    card = render_card(state, f"---\nlicense: mit\n---\n{above}{BEGIN} of long ago -->\nold\n{END_LINE}{below}")

    _, _, text = card.split("---\n", 2)
    assert text.startswith(above + BEGIN_LINE)
    assert text.endswith(END_LINE + below)
    assert "\nold\n" not in text


def test_text_between_a_lonely_mark_and_our_block_is_not_taken_for_ours(state: State) -> None:
    """Somebody cut our block in half: what they wrote after it survives every later rendering."""
    halved = f"---\nlicense: mit\n---\n{BEGIN_LINE}\nhalf of it\n\nMy own words.\n"
    card = render_card(state, halved)

    assert "My own words." in card
    assert render_card(state, card) == card


@pytest.mark.parametrize(
    "damaged",
    [
        "---\nlicense: [mit\n---\nwords\n",
        "---\njust a sentence\n---\nwords\n",
        "---\nwhen: 2024-99-99\n---\nwords\n",
        "---\nsure: !!bool maybe\n---\nwords\n",
        "---\nnever closed: true\n",
        "---\nlicense: mit\nlicense: [a\n---\nwords",
    ],
)
def test_yaml_that_cannot_be_read_is_kept_as_text_below_ours(state: State, damaged: str) -> None:
    """Nothing that somebody wrote is lost because it is damaged, and the card is valid again."""
    card = render_card(state, damaged)

    assert damaged in card
    assert front_matter(card)["language"] == ["th"]
    assert render_card(state, card) == card


@pytest.mark.parametrize(
    "theirs",
    ["{license: mit, mine: [1, two]}", "license: mit\nmine: [1, two]\n...", "  license: mit\n  mine: [1, two]"],
)
def test_yaml_in_an_unusual_form_keeps_its_keys(state: State, theirs: str) -> None:
    """Where lines can't be cut out, the values are written anew."""
    content = front_matter(render_card(state, f"---\n{theirs}\n---\n"))

    assert content["mine"] == [1, "two"]
    assert content["license"] == "other"


def test_a_key_that_refers_to_one_of_ours_keeps_its_value(state: State) -> None:
    """The anchor goes with our key; the value that it stood for stays."""
    content = front_matter(render_card(state, "---\nlicense: &licence mit\ncode_license: *licence\n---\n"))

    assert content["code_license"] == "mit"


def test_windows_line_ends_and_a_byte_order_mark_are_read(state: State) -> None:
    """An editor's habits do not make the YAML unreadable."""
    content = front_matter(render_card(state, "\ufeff---\r\nlicense: mit\r\nmine: 1\r\n---\r\nwords\r\n"))

    assert content["mine"] == 1


_KEYS = st.sampled_from(["license", "tags", "mine", "other_key", "configs"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, database=None)
@given(theirs=st.dictionaries(_KEYS, _VALUES, max_size=5), flow=st.booleans(), text=st.text(max_size=60))
@example(theirs={"mine": "---"}, flow=False, text="---\n")
@example(theirs={"mine": "\x85"}, flow=False, text="")
@example(theirs={}, flow=False, text=f"{BEGIN_LINE}\n{END_LINE}\n{BEGIN_LINE}\nx\n{END_LINE}")
def test_whatever_was_there_is_kept_and_settles_at_once(theirs: dict[str, Any], flow: bool, text: str) -> None:
    """Any YAML and any text: keys of others keep their values, text is kept, a second rendering changes nothing."""
    state = published(A=SHARE_ALIKE)
    theirs_text = yaml.safe_dump(theirs, allow_unicode=True, default_flow_style=flow)
    theirs = yaml.safe_load(theirs_text)  # as it is read: not all text comes back from YAML as it went in
    card = render_card(state, f"---\n{theirs_text}---\n{text}")

    content = front_matter(card)
    ours = front_matter(render_card(state, None))
    assert {key: content[key] for key in theirs if key not in ours} == {
        key: value for key, value in theirs.items() if key not in ours
    }
    assert {key: content[key] for key in ours if key != "tags"} == {
        key: value for key, value in ours.items() if key != "tags"
    }
    assert BEGIN in text or text in card
    assert render_card(state, card) == card


# --- the text for people ---------------------------------------------------------------------


def test_the_table_has_every_source_and_split_and_totals(state: State) -> None:
    """Clips, duration and rejects, per source and split, per split, and in all."""
    text = block(render_card(state, None))

    assert "| GigaSpeech2 | train | 3 | 3.0 s | 1 |" in text
    assert "| GigaSpeech2 | test | 2 | 2.0 s | 0 |" in text
    assert "| **all** | train | 6 | 6.0 s | 2 |" in text
    assert "| **all** | **all** | 8 | 8.0 s | 2 |" in text


def test_splits_that_a_source_does_not_have_take_no_row(state: State) -> None:
    source = state.sources["GigaSpeech2"]
    splits = {**source.splits, "validation": SplitState(Progress(finished=True))}
    with_empty = replace(state, sources={**state.sources, "GigaSpeech2": replace(source, splits=splits)})

    assert block(render_card(with_empty, None)) == block(render_card(state, None))


def test_each_sources_licence_page_and_terms_are_told(state: State) -> None:
    """A reader learns what may be done with a clip, and where that is written."""
    text = block(render_card(state, None))

    assert "### GigaSpeech2: GigaSpeech 2" in text
    assert "**Licence:** GigaSpeech 2 terms" in text
    assert "(https://huggingface.co/datasets/speechcolab/gigaspeech2)" in text
    assert "**Terms:** Non-commercial research and education only." in text
    assert "**Licence:** CC0 1.0" in text


def test_every_column_is_explained(state: State) -> None:
    """No column is published without a word on what it holds."""
    text = block(render_card(state, None))

    assert all(f"| `{column}` |" in text for column in hf_features(16000))


def test_how_to_load_names_the_repo_and_is_python(state: State) -> None:
    """The code of the card compiles, with the dataset's own name in it."""
    text = block(render_card(state, None, "me/thai-voice"))
    programs = [part.split("```")[0] for part in text.split("```python\n")[1:]]

    assert 'load_dataset("me/thai-voice", "GigaSpeech2", split="train")' in programs[0]
    for program in programs:
        compile(program, "card", "exec")


def test_clips_that_keep_their_own_audio_are_not_said_to_be_standardized(state: State) -> None:
    """The card says what was done to the audio of this dataset."""
    standard = block(render_card(state, None))
    as_it_was = block(render_card(replace(state, sample_rate_hz=None), None))

    assert "resampled to 16,000 Hz" in standard
    assert "resampled" not in as_it_was
    assert "keep the bytes of their source" in as_it_was


def test_sources_with_the_same_audio_settings_share_a_line(state: State) -> None:
    """The settings are told; options that say nothing of the audio are not."""
    text = block(render_card(state, None))

    assert "- GigaSpeech2, MozillaCommonVoice: target\\_dbfs = -20.0\n" in text
    assert "max" not in text


def test_ids_that_stand_for_nothing_are_named(state: State) -> None:
    """A hole in the numbering is no riddle."""
    card = render_card(replace(state, holes=((2, 2), (5, 7))), None)

    assert "stand for nothing: S2, S5 to S7." in card


def test_the_card_comes_from_the_data_alone(state: State) -> None:
    """Who committed, when, and in which order sources were read leaves no trace."""
    elsewhere = replace(
        state,
        sequence=9,
        run_id="run-2",
        committed_at="2031-01-01T00:00:00Z",
        sources=dict(reversed(state.sources.items())),
    )

    assert render_card(elsewhere, None) == render_card(state, None)


def test_a_dataset_without_clips_has_a_valid_card_without_configs() -> None:
    """A config without files could not be opened."""
    for empty in (State("g1", 16000), State("g1", 16000).with_source("A", source(SHARE_ALIKE))):
        card = render_card(empty, None)

        content = front_matter(card)
        assert content["language"] == ["th"]
        assert "configs" not in content
        assert "dataset_info" not in content
        assert "No clips are published yet" in card
        assert render_card(empty, card) == card


def test_rejects_alone_are_no_split() -> None:
    """A source all of whose clips were refused so far: its rejects must not be read as `train`."""
    refused = SourceState("r", {}, {}, {"train": SplitState(parts=1, progress=Progress(read=3, rejected=3))})

    (config,) = front_matter(render_card(State("g").with_source("Corpus", refused), None))["configs"]

    assert config["data_files"] == [{"split": "train", "path": "data/train/*.parquet"}]


OF_OTHERS = {
    "push_to_hub": {"config_name": "mine", "data_files": [{"split": "train", "path": "mine/train-*"}]},
    "one pattern": {"config_name": "all", "data_files": "**/*.parquet", "default": True},
    "a list": {"config_name": "two", "data_files": ["data/train/*.parquet", "extra/*.parquet"]},
    "a builder": {"config_name": "folder", "data_dir": "clips", "drop_labels": True},
}


@pytest.mark.parametrize("config", OF_OTHERS.values(), ids=OF_OTHERS)
def test_somebodys_own_config_is_kept(state: State, config: dict[str, Any]) -> None:
    """With what is said of its features; ours stay as they are, and one of ours that is no more goes."""
    gone = {"config_name": "Gone", "data_files": [{"split": "train", "path": "data/train/Gone-*.parquet"}]}
    names = (config["config_name"], "Gone")
    info = [{"config_name": name, "splits": [{"name": "train", "num_examples": 3}]} for name in names]
    theirs = f"---\n{yaml.safe_dump({'configs': [config, gone], 'dataset_info': info})}---\n"
    ours = front_matter(render_card(state, None))

    card = front_matter(rendered := render_card(state, theirs))

    kept = {key: value for key, value in config.items() if key != "default"}
    assert card["configs"] == [*ours["configs"], kept]
    assert card["dataset_info"] == [*ours["dataset_info"], info[0]]
    assert render_card(state, rendered) == rendered


def test_until_a_fresh_start_has_replaced_the_old_data_its_card_stays(state: State) -> None:
    """The old data is what readers still find; without a card there is nothing to keep."""
    old_card = render_card(state, THEIRS)
    begun = State("g2", 16000, replaces_old_data=True)

    assert render_card(begun, old_card) == old_card
    assert "No clips are published yet" in render_card(begun, None)


HOSTILE = (
    "a|b\n\n# big <script>alert(1)</script> `code` **bold** [x](javascript:y) ~~s~~ $m$ &lt; \\ "
    f"{END_LINE} ---\n\u202egnp\u200b\x1b[31m\ud800 กำ น้ำ"
)


def test_text_of_others_never_becomes_markup() -> None:
    """Whatever a source says of itself stands in its cell or line and does nothing."""
    hostile = {"title": HOSTILE, "url": HOSTILE, "licence": HOSTILE, "licence_name": HOSTILE, "terms": HOSTILE}
    state = published(A=hostile)
    card = render_card(state, None, "me/`voice`")

    text = block(card)
    assert card.endswith(f"{text}\n")
    assert not any(mark in text for mark in ("<script", "**bold**", "~~s~~", "[x]", "`code`", "$m$", "&lt;"))
    assert not any(hidden in card for hidden in "\u202e\u200b\x1b\ud800")
    assert "กำ น้ำ" in text
    assert text.count("\n# ") == 1
    assert "`voice`" not in text
    assert card.encode().decode() == card
    assert front_matter(card)["pretty_name"] == front_matter(render_card(published(A=SHARE_ALIKE), None))["pretty_name"]
    assert render_card(state, card, "me/`voice`") == card


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://[bad", "data:text/html,x", "//host", "page", ""])
def test_only_web_addresses_become_links(url: str) -> None:
    """Anything else is shown as text."""
    text = block(render_card(published(A={**SHARE_ALIKE, "url": url}), None))

    assert "](" not in text


def test_an_address_cannot_end_the_link_that_it_stands_in() -> None:
    """Brackets, spaces and the like are written as %XX."""
    text = block(render_card(published(A={**SHARE_ALIKE, "url": "https://x.org/a) [b](c|d) ไทย"}), None))

    assert "](https://x.org/a%29%20%5Bb%5D%28c%7Cd%29%20%E0%B9%84%E0%B8%97%E0%B8%A2)" in text


@settings(deadline=None, database=None)
@given(st.text(max_size=40))
@example("a|b <i>*c*</i> &lt; `d` \\ [e](f) #1 ~~g~~ $h$ _i_")
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    """No line end, no cell end, no HTML, no code, nothing hidden, in any text; a reader sees what it says."""
    result = escaped(text)

    assert not set(result) & set("\n\r\t|<>`\u2028\u200b")
    assert one_line(result) == result
    assert html.unescape(re.sub(r"\\(.)", r"\1", result)) == one_line(text)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1.0 min"),
        (246, "4.1 min"),
        (3599.9, "1.00 h"),
        (4_444_416, "1,234.56 h"),
    ],
)
def test_durations_are_told_in_the_unit_that_suits_them(duration_s: float, text: str) -> None:
    """Small datasets are not zero hours long."""
    assert duration_text(duration_s) == text


# --- datasets opens it -----------------------------------------------------------------------

_LOADER = """
import json, sys
from datasets import Audio, get_dataset_config_names, load_dataset

folder = sys.argv[1]
found = {}
for config in get_dataset_config_names(folder):
    for split, rows in load_dataset(folder, config).items():
        encoded = rows.cast_column("audio", Audio(decode=False))
        found[f"{config}/{split}"] = [[row["ID"], row["audio"]["bytes"][:4].decode()] for row in encoded]
for split, rows in load_dataset(folder).items():
    found[f"/{split}"] = rows["ID"][:]
    found["features"] = rows.features.to_dict()
print(json.dumps(found))
"""


def write_shard(folder: Path, name: str, split: str, number: int, ids: range) -> int:
    """A published shard with real audio in it; returns its size in bytes."""
    audio = io.BytesIO()
    soundfile.write(audio, np.sin(np.arange(1600) / 9).astype("float32") / 3, 16000, format="WAV")
    rows = [
        {
            "ID": f"S{number_of_id}",
            "source_id": f"{name}/{split}/{number_of_id}",
            "dataset_name": name,
            "speaker_id": None,
            "Language": "th",
            "audio": {"bytes": audio.getvalue(), "path": "clip.wav"},
            "transcript": "สวัสดี",
            "transcript_raw": "สวัสดี",
            "length": 0.1,
            "confidence_score": 1.0,
            "audio_hash": "00",
            "source_metadata": None,
        }
        for number_of_id in ids
    ]
    path = folder / "data" / split / f"{name}-{number:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=published_schema(16000)), path)
    return path.stat().st_size


def test_datasets_opens_every_config_and_split_of_a_folder_offline(tmp_path: Path) -> None:
    """With its default checks, which compare the card's numbers; rejects and state do not disturb it."""
    folder = tmp_path / "thai-voice"
    state = State("g1", 16000)
    layout = [
        ("GigaSpeech2", "test", 2),
        ("GigaSpeech2", "train", 3),
        ("GigaSpeech2", "train", 2),
        ("MozillaCommonVoice", "validation", 1),
        ("GigaSpeech2-extra", "train", 2),
    ]
    expected: dict[str, list[str]] = {}
    for name, split, rows in layout:
        if name not in state.sources:
            state = state.with_source(name, source(GIGASPEECH))
        ids = range(state.next_id, state.next_id + rows)
        size_bytes = write_shard(folder, name, split, state.split(name, split).parts, ids)
        state = grown(state, name, split, rows, rejects=1, size_bytes=size_bytes)
        for config in (f"{name}/{split}", f"default/{split}"):
            expected.setdefault(config, []).extend(f"S{number}" for number in ids)
    rejected = folder / "rejected" / "train" / "GigaSpeech2-00000.parquet"
    rejected.parent.mkdir(parents=True)
    pq.write_table(REJECTED_SCHEMA.empty_table(), rejected)
    (folder / ".ingest").mkdir()
    (folder / ".ingest" / "state.json").write_bytes(state.to_json())
    (folder / "README.md").write_text(render_card(state, "My own words.\n"), encoding="utf-8")

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    run = subprocess.run(
        [sys.executable, "-c", _LOADER, str(folder)], env=environment, capture_output=True, text=True, cwd=tmp_path
    )

    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found.pop("features") == hf_features(16000)
    everything = {f"/{split}": found.pop(f"/{split}") for split in ("train", "validation", "test")}
    rows_by_config = {config: sorted(row[0] for row in rows) for config, rows in found.items()}
    assert rows_by_config == {config: sorted(ids) for config, ids in expected.items()}
    assert {split: sorted(ids) for split, ids in everything.items()} == {
        f"/{split}": sorted(expected[f"default/{split}"]) for split in ("train", "validation", "test")
    }
    assert all(row[1] == "RIFF" for rows in found.values() for row in rows)
