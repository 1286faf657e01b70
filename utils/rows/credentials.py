"""Credentials in addresses: names and passwords, signatures, tokens. They stand in no message, log or file of ours.

An address of ours is shown as `public` has it. What others say (a library's error, a server's answer) goes through
`without_credentials`, which knows them by their form; `secrets_of` has those of an address that is known to have some,
in each form in which they may come back.
"""

import base64
import re
from typing import Final
from urllib.parse import parse_qsl, unquote

HIDDEN: Final = "<hidden>"

_USER: Final = re.compile(r"(?<=://)(?:[^\s/?#\"'<>\\]+|[^\s/@:\"'<>\\]*:(?!\d+/)[^\s@\"'<>\\]+)@")
"""A password should have no `/`, `?` or `#` as they are; one that was pasted has. (`host:8080/a@b` has a port.)"""
_SECRET_VALUE: Final = re.compile(
    r"(?i)([?&;][\w.%-]{0,60}?(?:sig|token|secret|key|passw|pwd|auth|credential|session|jwt|policy|code)[\w.%-]{0,60}=)"
    r"[^\s&;\"'<>#)\]}\\]+"
)
_MIN_PASSWORD: Final = 4
_MIN_VALUE: Final = 8
_MIN_NAME: Final = 16
"""Characters. What is shorter is hidden where it stands in an address, and is nothing to look for everywhere; a name
without a password is a token where it is long."""


def without_credentials(text: str) -> str:
    """A text in which what an address has in front of its host, and the values of telling parameters, are hidden."""
    if "://" in text:
        text = _USER.sub(f"{HIDDEN}@", text)
    return _SECRET_VALUE.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text


def public(url: str) -> str:
    """An address as it may be shown and stored: without name and password, and without parameters."""
    return _USER.sub("", url).partition("?")[0].partition("#")[0]


def secrets_of(url: str) -> list[str]:
    """What of an address nobody may see: password, name with password, and the values of its parameters."""
    query = url.partition("?")[2].partition("#")[0]
    values = [query, *(part.partition("=")[2] for part in query.split("&")), *(value for _, value in parse_qsl(query))]
    found = {value for value in values if len(value) >= _MIN_VALUE}
    for given in _USER.findall(url):
        user = given.removesuffix("@")
        name, _, password = user.partition(":")
        if len(password) >= _MIN_PASSWORD or len(name) >= _MIN_NAME:
            forms = [user, unquote(user), unquote(f"{name}:")]
            found |= {user, password or name, unquote(password or name)}
            found |= {base64.b64encode(form.encode()).decode() for form in forms}
    return sorted(found)
