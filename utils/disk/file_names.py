"""Names of files made from names that others chose (repos, folders): never a path, never too long, never shared."""

import re

import xxhash

MAX_NAME_BYTES = 100


def staging_name(place: str, on_hub: bool) -> str:
    """The name of the folder in which runs stage for a target: a repo, or the full path of a folder."""
    return f"{'hub' if on_hub else 'local'}-{file_name_of(place)}"


def file_name_of(text: str) -> str:
    """A file name for `text`: the same for the same text only, 120 bytes at most."""
    plain = re.sub(r"[^\w.-]", "_", text.strip("/"))
    if plain == text and len(plain.encode()) <= MAX_NAME_BYTES and not plain.startswith("."):
        return plain
    readable = plain.encode()[-MAX_NAME_BYTES:].decode(errors="ignore").lstrip(".")
    return f"{readable}-{xxhash.xxh3_64_hexdigest(text.encode(errors='surrogateescape'))}"
