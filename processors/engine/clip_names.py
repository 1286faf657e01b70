"""The names of clips: a file's name, its key in the dataset, and whether it is a clip at all."""

from pathlib import PurePosixPath

import xxhash

from utils.sources.mirror_revision import AUDIO_SUFFIXES

MAX_KEY_CHARACTERS = 255
"""As long as a file system lets a name be."""
_KEPT_OF_A_LONG_KEY = 200


def is_audio_name(path: str) -> bool:
    """Whether a file is audio by its ending. `._name` is a macOS side file."""
    return ending_of(path).lower() in AUDIO_SUFFIXES and not base_name_of(path).startswith("._")


def base_name_of(path: str) -> str:
    """`PurePosixPath(path).name`, in a tenth of the time: it is asked for several times a clip."""
    name = path.rpartition("/")[2]
    return name if name not in ("", ".") else PurePosixPath(path).name


def stem_of(path: str) -> str:
    """The file's name without its ending."""
    return _split_name(path)[0]


def ending_of(path: str) -> str:
    """The ending of the file's name with its dot; empty where it has none."""
    return _split_name(path)[1]


def _split_name(path: str) -> tuple[str, str]:
    name = base_name_of(path)
    at = name.rfind(".")
    return (name[:at], name[at:]) if 0 < at < len(name) - 1 else (name, "")


def key_of(name: str) -> str:
    """The key of the clip in the file `name`: without folder and ending; of a very long one the start and a hash.

    Keys are held in memory until the next checkpoint, and published: a name may be of any length.
    """
    return short_key(stem_of(name))


def short_key(key: str) -> str:
    """The key itself; of a very long one the start and a hash."""
    if len(key) <= MAX_KEY_CHARACTERS:
        return key
    return f"{key[:_KEPT_OF_A_LONG_KEY]}~{xxhash.xxh3_128_hexdigest(key.encode(errors='surrogatepass'))}"
