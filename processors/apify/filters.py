"""Which pairs are kept, and what their text becomes. Pure.

The order of the checks is the order of `reason_against`: a pair has one reason, the first. Age is held against the
time at which the run was started, never against the clock, so that the same items always come out the same.
"""

import html
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from processors.apify.fields import Post
from utils.text.normalize import normalize_transcript


class PairReason:
    """Reason codes of refused items, as published in the column `reason` of the rejects."""

    UNREADABLE_ITEM = "unreadable_item"
    NO_PARENT = "no_parent"
    REPEATED_REPLY = "repeated_reply"
    KNOWN_REPLY = "known_reply"
    """An earlier collection has it."""
    FEW_LIKES = "few_likes"
    FEW_REPLIES = "few_replies"
    FEW_VIEWS = "few_views"
    PROMPT_TOO_SHORT = "prompt_too_short"
    PROMPT_TOO_LONG = "prompt_too_long"
    RESPONSE_TOO_SHORT = "response_too_short"
    RESPONSE_TOO_LONG = "response_too_long"
    TOO_OLD = "too_old"
    NO_DATE = "no_date"
    OTHER_LANGUAGE = "other_language"
    HAS_LINK = "has_link"
    HAS_MEDIA = "has_media"
    AUTHOR_LIMIT = "author_limit"


@dataclass(frozen=True)
class Filters:
    """What a pair must be like. Lengths are characters of the published text."""

    min_likes: int = 0
    """Of the reply, like the next two."""
    min_replies: int = 0
    min_views: int = 0
    min_prompt_chars: int = 1
    max_prompt_chars: int | None = None
    min_response_chars: int = 1
    max_response_chars: int | None = None
    max_age_days: float | None = None
    language: str | None = None
    """As the site says; where it says nothing and this is `th`, half of the letters must be Thai."""
    min_thai_share: float | None = None
    """Of the letters of prompt and response together."""
    no_links: bool = False
    no_media: bool = False
    max_replies_per_author: int | None = None
    """Over the whole collection."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A reply with what it answers, their texts as they will be published."""

    reply: Post
    prompt: str
    response: str
    prompt_has_media: bool = False


LANGUAGE_BY_LETTERS: Final = 0.5
_AT: Final = "[@\uff20\ufe6b]"
"""Wide and small ones, as a Thai or a Chinese keyboard may give them."""
_NAME: Final = "[A-Za-z0-9_]"
"""Of a handle. Thai letters next to one are words: nobody types a space there."""
_HANDLE: Final = re.compile(f"(?<!{_NAME}){_AT}{_NAME}{{1,50}}")
"""Behind a letter it is an e-mail address."""
_LEADING_HANDLES: Final = re.compile(f"^(?:\\s*{_AT}{_NAME}{{1,50}})+\\s*")
_PROFILE: Final = re.compile(
    f"((?:twitter|x|threads|instagram|facebook|tiktok)\\.(?:com|net)/){_AT}?[A-Za-z0-9_.]{{1,60}}", re.IGNORECASE
)
_LINK: Final = re.compile(r"https?://", re.IGNORECASE)
_THAI: Final = re.compile("[\u0e01-\u0e2e\u0e30-\u0e33\u0e40-\u0e46]")


def pair_of(reply: Post, prompt_text: str, prompt_has_media: bool) -> Pair:
    """The pair of a reply and the text that it answers."""
    return Pair(reply, published_text(prompt_text), published_text(reply.text, is_reply=True), prompt_has_media)


def published_text(text: str, is_reply: bool = False) -> str:
    """A post's text without its names: the handles that a site puts in front of a reply go, others become `@user`."""
    plain = normalize_transcript(html.unescape(text))  # an invisible character would part a name from its sign
    if is_reply:
        plain = _LEADING_HANDLES.sub("", plain)
    return normalize_transcript(_HANDLE.sub("@user", _PROFILE.sub(r"\1user", plain)))


def thai_share(text: str) -> float:
    """The share of Thai among the letters of a text; 0 where it has none."""
    thai = len(_THAI.findall(text))
    letters = thai + sum(1 for char in text if char.isalpha() and not _THAI.match(char))
    return thai / letters if letters else 0.0


def language_of(pair: Pair) -> str:
    """What the site says, or `th` where the letters do; else ""."""
    if pair.reply.language and pair.reply.language != "und":
        return pair.reply.language
    return "th" if thai_share(pair.response) >= LANGUAGE_BY_LETTERS else ""


def reason_against(pair: Pair, filters: Filters, started_at: datetime) -> tuple[str, str] | None:
    """The first reason to refuse a pair, with a detail; None to keep it. The limit of authors is the caller's."""
    return (
        _engagement(pair.reply, filters)
        or _lengths(pair, filters)
        or _age(pair.reply, filters, started_at)
        or _language(pair, filters)
        or _attachments(pair, filters)
    )


def _engagement(reply: Post, filters: Filters) -> tuple[str, str] | None:
    for reason, has, needs in (
        (PairReason.FEW_LIKES, reply.likes, filters.min_likes),
        (PairReason.FEW_REPLIES, reply.replies, filters.min_replies),
        (PairReason.FEW_VIEWS, reply.views, filters.min_views),
    ):
        if has < needs:
            return reason, f"{has}; at least {needs}"
    return None


def _lengths(pair: Pair, filters: Filters) -> tuple[str, str] | None:
    for short, long, text, least, most in (
        (
            PairReason.PROMPT_TOO_SHORT,
            PairReason.PROMPT_TOO_LONG,
            pair.prompt,
            filters.min_prompt_chars,
            filters.max_prompt_chars,
        ),
        (
            PairReason.RESPONSE_TOO_SHORT,
            PairReason.RESPONSE_TOO_LONG,
            pair.response,
            filters.min_response_chars,
            filters.max_response_chars,
        ),
    ):
        if len(text) < max(least, 1):  # a pair of nothing is no pair
            return short, f"{len(text)} characters; at least {max(least, 1)}"
        if most is not None and len(text) > most:
            return long, f"{len(text)} characters; at most {most}"
    return None


def _age(reply: Post, filters: Filters, started_at: datetime) -> tuple[str, str] | None:
    if filters.max_age_days is None:
        return None
    if reply.created_at is None:
        return PairReason.NO_DATE, "its age can't be told"
    age = started_at - reply.created_at
    if age > timedelta(days=min(filters.max_age_days, 1e6)):
        return PairReason.TOO_OLD, f"{age.days} days; at most {filters.max_age_days:g}"
    return None


def _language(pair: Pair, filters: Filters) -> tuple[str, str] | None:
    if filters.language is not None and language_of(pair) != filters.language.lower():
        return PairReason.OTHER_LANGUAGE, f"{language_of(pair) or 'unknown'}; {filters.language} wanted"
    if filters.min_thai_share is not None:
        share = thai_share(f"{pair.prompt} {pair.response}")
        if share < filters.min_thai_share:
            return (
                PairReason.OTHER_LANGUAGE,
                f"{share:.2f} of the letters are Thai; at least {filters.min_thai_share:g}",
            )
    return None


def _attachments(pair: Pair, filters: Filters) -> tuple[str, str] | None:
    if filters.no_links and (pair.reply.has_links or _LINK.search(pair.prompt)):
        return PairReason.HAS_LINK, "in the response" if pair.reply.has_links else "in the prompt"
    if filters.no_media and (pair.reply.has_media or pair.prompt_has_media):
        return PairReason.HAS_MEDIA, "with the response" if pair.reply.has_media else "with the prompt"
    return None
