"""From an actor's item to a pair: fields wherever the actor puts them, texts without names, one reason a refusal."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.apify.fields import Post, post_of
from processors.apify.filters import Filters, PairReason, pair_of, published_text, reason_against, thai_share
from tests.apify.support import START, post, reply

ANSWER = post_of(reply("2", "1", "ข้าวผัดครับ", "Somchai", likes=7, replyCount=2, viewCount=90), {})
assert ANSWER is not None


def judged(filters: Filters, prompt: str = "กินอะไรดี", media: bool = False, **fields: Any) -> str | None:
    """The reason against a reply with these fields; None where it is kept."""
    assert ANSWER is not None
    reason = reason_against(pair_of(replace(ANSWER, **fields), prompt, media), filters, START)
    return reason[0] if reason else None


# --- fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        {
            "id": "2",
            "text": "ดีครับ",
            "author": {"userName": "Somchai"},
            "createdAt": "Mon Jan 05 10:00:00 +0000 2026",
            "likeCount": 3,
            "replyCount": 1,
            "viewCount": 50,
            "lang": "th",
            "inReplyToId": "1",
            "conversationId": "1",
        },
        {
            "id_str": "2",
            "full_text": "ดีครับ",
            "user": {"screen_name": "somchai"},
            "created_at": "2026-01-05T17:00:00+07:00",
            "favorite_count": "3",
            "reply_count": 1.0,
            "views": {"count": "50"},
            "lang": "TH",
            "in_reply_to_status_id_str": "1",
            "conversation_id_str": "1",
        },
        {
            "id": 2,
            "text": "ดีครับ",
            "username": "somchai",
            "timestamp": 1767607200,
            "likes": 3,
            "replies": 1,
            "views": 50,
            "language": "th",
            "isReply": True,
            "conversation_id": 1,
        },
    ],
    ids=["flat", "api", "bare"],
)
def test_same_post_from_different_actors(item: dict[str, Any]) -> None:
    """The usual places of the common scrapers; a reply that names no parent answers the conversation's first post."""
    assert post_of(item, {}) == Post(
        id="2",
        text="ดีครับ",
        author="somchai",
        created_at=datetime(2026, 1, 5, 10, tzinfo=UTC),
        likes=3,
        replies=1,
        views=50,
        language="th",
        has_links=False,
        has_media=False,
        conversation_id="1",
        parent_id="1",
        parent_text="",
    )


def test_places_that_the_queries_file_names_come_first() -> None:
    """Of several, the first that has something."""
    places = {"likes": ("stats.up", "stats.hearts"), "text": ("body.plain",)}
    item = {"id": "1", "text": "no", "body": {"plain": "yes"}, "likeCount": 1, "stats": {"up": None, "hearts": 9}}

    found = post_of(item, places)

    assert found is not None and (found.likes, found.text) == (9, "yes")


@pytest.mark.parametrize(
    "item",
    [None, 3, "text", [], {}, {"noResults": True}, {"id": "1"}, {"text": "a"}, {"id": "1", "text": " "}]
    + [{"id": "1" * 300, "text": "a"}, {"id": True, "text": "a"}, {"id": {"a": 1}, "text": "a"}],
)
def test_item_that_is_no_post(item: Any) -> None:
    """Actors put notices and errors among their items."""
    assert post_of(item, {}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["userName", "media", "a"]), inner),
    max_leaves=4,
)
KEYS = ["id", "text", "author", "createdAt", "likeCount", "lang", "entities", "inReplyTo", "inReplyToId", "isReply"]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_item_is_a_post_or_none(item: dict[str, Any]) -> None:
    """What is paid for must never stop the collection, whatever it looks like; it can be published, too."""
    found = post_of(item, {})

    if found is not None:
        pair = pair_of(found, found.parent_text, False)
        reason_against(pair, Filters(language="th", min_thai_share=0.5, max_age_days=3), START)
        f"{found.id}{found.author}{found.language}{pair.prompt}{pair.response}".encode()
        assert 0 <= found.likes < 2**63


def test_attachments() -> None:
    """Links in the entities or the text; media wherever they are listed."""
    with_link = post_of(post("1", "see", "a", entities={"urls": [{"url": "x"}]}), {})
    with_text_link = post_of(post("1", "see https://t.co/x", "a"), {})
    with_media = post_of(post("1", "see", "a", extendedEntities={"media": [{}]}), {})
    plain = post_of(post("1", "see", "a", entities={"urls": [], "media": []}), {})

    assert with_link and with_text_link and with_media and plain
    assert [found.has_links for found in (with_link, with_text_link, with_media, plain)] == [True, True, False, False]
    assert [found.has_media for found in (with_link, with_text_link, with_media, plain)] == [False, False, True, False]


# --- texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("@somchai @other ดีครับ", "ดีครับ"),
        ("ถาม @somchai ดู", "ถาม @user ดู"),
        ("เขียนมาที่ me@mail.com", "เขียนมาที่ me@mail.com"),
        ("ร้อน &amp; ชื้น &lt;3", "ร้อน & ชื้น <3"),
        ("ดู https://x.com/somchai/status/1", "ดู https://x.com/user/status/1"),
        ("บรรทัด\nสอง\u200b", "บรรทัด สอง"),
        ("@somchai", ""),
    ],
)
def test_published_reply_has_no_names(text: str, published: str) -> None:
    """Handles in front of a reply are the site's; others are somebody's name."""
    assert published_text(text, is_reply=True) == published


def test_prompt_keeps_its_first_word() -> None:
    """A handle in front of a question was typed."""
    assert published_text("@somchai ว่าไง") == "@user ว่าไง"


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("ขอบคุณ@somchai_j มากครับ", "ขอบคุณ@user มากครับ"),
        ("เห็นด้วยกับ @somchai_jครับผม", "เห็นด้วยกับ @userครับผม"),
        ("@asker@somchai_jขอบคุณมากครับ", "ขอบคุณมากครับ"),
        ("＠somchai_j สวัสดี", "สวัสดี"),
        ("สวัสดี＠somchai_jครับ", "สวัสดี@userครับ"),
        ("ดู x.com/somchai_jครับ", "ดู x.com/userครับ"),
        ("ดู tiktok.com/@somchai_jครับ", "ดู tiktok.com/userครับ"),
        ("ดู youtube.com/@somchai_j", "ดู youtube.com/@user"),
        ("นี่ @\u200bsomchai_j ไง", "นี่ @user ไง"),
        ("ส่งมาที่ somchai.j@example.com ครับ", "ส่งมาที่ somchai.j@example.com ครับ"),
        ("เจอกัน @ตลาด นะ", "เจอกัน @ตลาด นะ"),
    ],
)
def test_a_handle_ends_where_thai_begins(text: str, published: str) -> None:
    """Nobody types a space there: no name stays because a word stands before it, and no word goes with it."""
    assert published_text(text, is_reply=True) == published


def test_thai_share() -> None:
    """Of letters; digits, marks and signs are none."""
    assert thai_share("กขคง") == 1.0
    assert thai_share("กข ab 123 😀") == 0.5
    assert thai_share("123") == 0.0


# --- filters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "change", "reason"),
    [
        (Filters(min_likes=8), {"likes": 8}, PairReason.FEW_LIKES),
        (Filters(min_replies=3), {"replies": 3}, PairReason.FEW_REPLIES),
        (Filters(min_views=91), {"views": 91}, PairReason.FEW_VIEWS),
        (Filters(min_response_chars=12), {"text": "ข้าวผัดกุ้งครับ"}, PairReason.RESPONSE_TOO_SHORT),
        (Filters(max_response_chars=5), {"text": "ครับ"}, PairReason.RESPONSE_TOO_LONG),
        (Filters(language="en"), {"language": "en"}, PairReason.OTHER_LANGUAGE),
        (Filters(max_age_days=1), {"created_at": START - timedelta(hours=1)}, PairReason.TOO_OLD),
    ],
)
def test_filter_refuses_what_is_beyond_it(filters: Filters, change: dict[str, Any], reason: str) -> None:
    """And keeps what is just within."""
    assert judged(filters) == reason
    assert judged(filters, **change) is None


def test_pair_that_no_filter_minds_is_kept() -> None:
    """Without filters all is kept but what is empty."""
    assert judged(Filters()) is None
    assert judged(Filters(), text="@somchai") == PairReason.RESPONSE_TOO_SHORT
    assert judged(Filters(), prompt="") == PairReason.PROMPT_TOO_SHORT
    assert judged(Filters(max_prompt_chars=3)) == PairReason.PROMPT_TOO_LONG


def test_links_and_media_of_either_side() -> None:
    """When asked."""
    assert judged(Filters(no_links=True), has_links=True) == PairReason.HAS_LINK
    assert judged(Filters(no_links=True), prompt="ดู https://a.b") == PairReason.HAS_LINK
    assert judged(Filters(no_media=True), has_media=True) == PairReason.HAS_MEDIA
    assert judged(Filters(no_media=True), media=True) == PairReason.HAS_MEDIA
    assert judged(Filters(), has_links=True, has_media=True, media=True) is None


def test_unknown_age_is_not_young() -> None:
    """A post without a date is refused only where age matters."""
    assert judged(Filters(max_age_days=1), created_at=None) == PairReason.NO_DATE
    assert judged(Filters(), created_at=None) is None


def test_language_is_told_by_letters_where_the_site_is_silent() -> None:
    """`und` is silence, too."""
    assert judged(Filters(language="th"), language="") is None
    assert judged(Filters(language="th"), language="und", text="hello") == PairReason.OTHER_LANGUAGE
    assert judged(Filters(min_thai_share=0.9), text="ดี okay okay okay") == PairReason.OTHER_LANGUAGE
