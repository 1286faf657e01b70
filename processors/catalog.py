"""The sources that come with the program, described. By itself, so that `--list` need not load what reads them."""

from typing import Final

from processors.source_info import SourceInfo

CATALOG: Final[dict[str, SourceInfo]] = {
    "GigaSpeech2": SourceInfo(
        title="GigaSpeech 2 (Thai)",
        url="https://huggingface.co/datasets/speechcolab/gigaspeech2",
        licence="other",
        licence_name="Apache-2.0 tag; non-commercial research and education by its terms",
        hours="10,262 refined (12,902 raw), dev 10, test 10",
        mirror="speechcolab/gigaspeech2",
        repo_id="speechcolab/gigaspeech2",
        access="gated: accept the terms on its page, then use your token",
        terms="for non-commercial research and education only; its authors do not own the audio",
    ),
    "ProcessedVoiceTH": SourceInfo(
        title="Processed Voice TH 169k",
        url="https://huggingface.co/datasets/Porameht/processed-voice-th-169k",
        licence="cc-by-sa-4.0",
        licence_name="CC BY-SA 4.0",
        hours="about 160",
        mirror="Porameht/processed-voice-th-169k",
        repo_id="Porameht/processed-voice-th-169k",
    ),
    "MozillaCommonVoice": SourceInfo(
        title="Mozilla Common Voice (Thai)",
        url="https://mozilladatacollective.com/datasets",
        licence="cc0-1.0",
        licence_name="CC0-1.0",
        hours="427 (173 validated)",
        mirror="common_voice",
        access="a key of the Mozilla Data Collective (MDC_API_KEY), or by hand, then --source-dir",
        terms="the Mozilla Data Collective's terms forbid re-hosting what it hands out",
    ),
    "Apify": SourceInfo(
        title="Apify",
        url="https://apify.com/store",
        licence="other",
        licence_name="the terms of the sites that were read",
        hours="0",
        mirror="",
        access="paid: needs an account and APIFY_TOKEN",
        terms="Posts belong to those who wrote them, and the terms of the sites restrict passing them on: keep the "
        "dataset private unless you may publish it.",
    ),
}
