"""Which parts of a request are credentials, by their names and by their looks. Pure."""

import math
import re
from collections import Counter
from typing import Final

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS: Final = frozenset(
    (
        *("key", "apikey", "token", "secret", "jwt", "bearer", "code", "appid", "cookie", "otp"),
        *("password", "passwd", "passphrase", "passcode", "pwd", "pass", "credential"),
        *("signature", "sig", "hmac", "session", "sessionid", "sid", "credentials"),
        *("auth", "authorization", "authentication"),
    )
)
_SECRET_ENDS: Final = ("key", "token", "secret", "password", "passwd", "signature", "sessionid")
_NO_SECRET: Final = re.compile(
    r"(page|next|prev|previous|continuation|sync|delta|start|starting|cursor|scroll|resume|skip)"
    r"[-_.]?token$|(sort|order|group|partition|primary|foreign)[-_.]?(by)?[-_.]?key$|"
    r"(country|currency|language|status|zip|postal|iso|area|error|locale|region)[-_.]?code$",
    re.IGNORECASE,
)
"""Names that end as those of secrets do, and are places among rows, or columns."""
_JWT: Final = re.compile(r"ey[\w-]{8,}\.[\w-]{4,}\.[\w-]*")
_RANDOM: Final = re.compile(r"[A-Za-z0-9_\-+/=~:]{20,}")
_RANDOM_BITS: Final = 3.2
_WORDY: Final = re.compile(r"[a-z]{3,}([-_][a-z]{2,}|\d{0,4})*", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a parameter, header or member of this name carries a credential.

    >>> [name for name in ("api_key", "accessToken", "X-Api-Key", "wskey", "page_token", "limit")
    ...  if is_secret_name(name)]
    ['api_key', 'accessToken', 'X-Api-Key', 'wskey']
    """
    if _NO_SECRET.search(name):
        return False
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and (words[-1] in _SECRET_WORDS or words[-1].endswith(_SECRET_ENDS))


def looks_secret(value: str) -> bool:
    """Whether a value looks as if a machine had made it up: a JWT, a key, a UUID.

    >>> looks_secret("9f86d081884c7d659a2feaa0c55ad015"), looks_secret("created_at_descending_2")
    (True, False)
    """
    if _JWT.fullmatch(value):
        return True
    if not _RANDOM.fullmatch(value) or _WORDY.fullmatch(value) or value.isdigit():
        return False
    if not any(c.isdigit() for c in value) or not any(c.isalpha() for c in value):
        return False
    counts = Counter(value.lower())
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits >= _RANDOM_BITS


def is_secret(name: str, value: str) -> bool:
    """Whether a named value is a credential."""
    return bool(value) and (is_secret_name(name) or looks_secret(value))


_TEXT_WORD: Final = re.compile(r"[A-Za-z0-9_\-+=~:]{20,}")
SHORTEST: Final = 4
"""A value of fewer characters is no credential: Basic auth often wants one of its parts as x."""


def masked(text: str) -> str:
    """A text for a comment or a screen, with dots in place of what looks like a credential.

    >>> masked("config.x or '9f86d081884c7d659a2feaa0c55ad015'")
    "config.x or '…'"
    """
    return _TEXT_WORD.sub(lambda word: "…" if looks_secret(word[0]) else word[0], text)


def without_credentials(url: str) -> str:
    """A URL for a sentence: neither its user and password nor its query."""
    plain = re.split(r"[?#]", url, maxsplit=1)[0]
    scheme, slashes, rest = plain.partition("://")
    shown = f"{scheme}{slashes}{rest.rpartition('@')[2]}" if slashes else plain.rpartition("@")[2]
    return "/".join("…" if looks_secret(part) else part for part in shown.split("/"))
