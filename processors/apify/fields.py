"""What a post is, whatever the actor calls its parts. Pure: an item as it came -> a `Post`, or None.

Actors differ in where they put things. `USUAL_PLACES` has what the common scrapers of X use; a queries file may name
others (`fields: {likes: stats.likes}`). A place is a path of keys; the first place that has something counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

USUAL_PLACES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "id_str", "tweetId", "rest_id"),
    "text": ("fullText", "full_text", "text", "content", "body"),
    "author": ("author.userName", "author.username", "user.screen_name", "user.username", "username", "userName"),
    "created_at": ("createdAt", "created_at", "timestamp", "date"),
    "likes": ("likeCount", "favorite_count", "favoriteCount", "likes", "score"),
    "replies": ("replyCount", "reply_count", "replies", "numberOfComments"),
    "views": ("viewCount", "views.count", "views"),
    "language": ("lang", "language"),
    "links": ("entities.urls", "links"),
    "media": ("extendedEntities.media", "entities.media", "media", "photos", "videos"),
    "conversation_id": ("conversationId", "conversation_id", "conversation_id_str"),
    "parent_id": (
        "inReplyToId",
        "inReplyToStatusId",
        "in_reply_to_status_id_str",
        "replyToId",
        "inReplyTo.id",
        "parentId",
    ),
    "parent_text": ("inReplyTo.fullText", "inReplyTo.text", "inReplyToText", "parentText"),
}
FIELD_NAMES = tuple(USUAL_PLACES)
MAX_ID_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Post:
    """One post of a run."""

    id: str
    text: str
    author: str
    """Lower case; "" where the actor does not say."""
    created_at: datetime | None
    likes: int
    replies: int
    views: int
    language: str
    has_links: bool
    has_media: bool
    conversation_id: str
    parent_id: str
    """"" for a post that answers nothing."""
    parent_text: str
    """"" where the item does not carry it."""

    @property
    def is_reply(self) -> bool:
        return bool(self.parent_id or self.parent_text)


def post_of(item: Any, places: Mapping[str, tuple[str, ...]]) -> Post | None:
    """The post in an item; None where it has no id or no text: actors put notices and errors among their items."""
    if not isinstance(item, Mapping):
        return None
    found = {name: _first(item, places.get(name, usual)) for name, usual in USUAL_PLACES.items()}
    identity, text = _text(found["id"]), _text(found["text"])
    if not identity or len(identity) > MAX_ID_CHARACTERS or not text.strip():
        return None
    conversation = _text(found["conversation_id"])
    parent = _text(found["parent_id"])
    if not parent and item.get("isReply") is True and conversation != identity:
        parent = conversation
    return Post(
        id=identity,
        text=text,
        author=_text(found["author"]).strip().lower(),
        created_at=_moment(found["created_at"]),
        likes=_count(found["likes"]),
        replies=_count(found["replies"]),
        views=_count(found["views"]),
        language=_text(found["language"]).lower(),
        has_links=bool(found["links"]) or "http://" in text or "https://" in text,
        has_media=bool(found["media"]),
        conversation_id=conversation,
        parent_id=parent,
        parent_text=_text(found["parent_text"]),
    )


def _first(item: Mapping[str, Any], places: tuple[str, ...]) -> Any:
    """What is at the first place that has something; None where none has."""
    for place in places:
        value: Any = item.get(place)  # a key may have a dot in it
        if value is None and "." in place:
            value = item
            for key in place.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
        if value not in (None, "", [], {}):
            return value
    return None


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text.encode(errors="replace").decode()  # half a surrogate pair has no place in a dataset


def _count(value: Any) -> int:
    """A count; 0 for what is none. Some actors send counts as text, some put thousands separators into them."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, str):
        digits = value.replace(",", "").strip()
        return min(int(digits), 2**63 - 1) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
    if isinstance(value, (int, float)) and 0 <= value < 2**63:
        return int(value)
    return 0


def _moment(value: Any) -> datetime | None:
    """A time in UTC: ISO 8601, X's own form, seconds or milliseconds since 1970. Without a zone it is taken for UTC."""
    try:
        if isinstance(value, str) and not value.strip().isdigit():
            return _spelled(value.strip())
        number = float(value)
        return datetime.fromtimestamp(number / 1000 if number > 1e11 else number, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _spelled(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.strptime(text, "%a %b %d %H:%M:%S %z %Y")
        except ValueError:
            moment = parsedate_to_datetime(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
