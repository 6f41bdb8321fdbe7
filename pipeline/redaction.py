r"""Secrets: found by their type, and kept out of every text. Pure.

Nothing is quoted of a response that contains a secret. An API writes a secret in its own spelling:
PHP writes ``\/``, .NET ``\u002B``, a page ``&#47;``, a form ``+`` for a space. So the texts are
compared in one spelling, decoded until nothing is left to decode. A text of ours that names a
secret as it is, or as a library writes it, has stars in its place.

Filters keep secrets out of the logs of the HTTP libraries, at any level: some APIs take their key
in the query, and repeat it in links and redirects.
"""

import html
import json
import logging
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_plus, unquote

import httpx
from pydantic import BaseModel, SecretBytes, SecretStr

SHORTEST: Final = 4
"""A secret of fewer characters could be a part of any word."""
STARS: Final = "***"
_MOST_ROUNDS: Final = 8
_EATEN: Final = 4
_ESCAPED: Final = re.compile(r"(?<!\\)\\++(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|[nrtvf])")
_SURROGATES: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_IGNORED: Final = re.compile(r"[\s+\\]+")
"""A blank is also a ``+`` in a form, and lines are put together; a backslash escapes the next."""


def secrets_in(value: object, path: str = "") -> dict[str, str]:
    """Every secret in a pydantic model, however deep, by its path.

    >>> class Login(BaseModel):
    ...     user: str
    ...     body: dict[str, SecretStr]
    >>> secrets_in(Login(user="ada", body={"password": "hush"}))
    {'body.password': 'hush'}
    """
    if isinstance(value, SecretStr):
        return {path: value.get_secret_value()}
    if isinstance(value, SecretBytes):
        return {path: value.get_secret_value().decode("utf-8", "replace")}
    members: Iterable[tuple[object, object]] = ()
    if isinstance(value, BaseModel):
        members = iter(value)
    elif isinstance(value, Mapping):
        members = value.items()
    elif isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        members = enumerate(value)
    secrets: dict[str, str] = {}
    for name, member in members:
        secrets |= secrets_in(member, f"{path}.{name}" if path else str(name))
    return secrets


def contains_secret(text: str, secrets: Iterable[str]) -> bool:
    """True if a text has one of the secrets, in whatever spelling.

    What stands before a secret may take its first characters when it is decoded (``%2`` before
    ``5``), so that they need not be there.
    """
    spellings = [_IGNORED.sub("", each) for each in _decodings(text)]
    return any(
        form[min(_EATEN, max(1, len(form) - SHORTEST)) :] in each
        for secret in _longest_first(secrets)
        for form in _comparable(secret)
        for each in spellings
    )


def contains_piece(text: str, secrets: Iterable[str]) -> bool:
    """True if a text has ``SHORTEST`` characters of a secret that follow each other there.

    So short a piece may be there by chance.
    """
    return any(
        secret[at : at + SHORTEST] in text
        for secret in _longest_first(secrets)
        for at in range(len(secret) - SHORTEST + 1)
    )


def redact(text: str, secrets: Iterable[str], *, withheld: str = STARS) -> str:
    """A text with stars in place of each secret.

    :param withheld: what is said instead if a secret is there in a spelling that is not known.
    """
    by_length = _longest_first(secrets)
    for secret in by_length:
        for form in _written(secret):
            text = text.replace(form, STARS)
    spellings = [_IGNORED.sub("", each) for each in _decodings(text)]
    forms = (form for secret in by_length for form in _comparable(secret))
    return withheld if any(form in each for form in forms for each in spellings) else text


def _longest_first(secrets: Iterable[str]) -> list[str]:
    """Secrets, the longest first, since one may be a part of another."""
    return sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)


@lru_cache(maxsize=256)
def _written(secret: str) -> tuple[str, ...]:
    """A secret as it is, and as the libraries of ours write it."""
    forms = (
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        b64encode(secret.encode("utf-8", "surrogatepass")).decode(),
    )
    return tuple(sorted(set(forms), key=len, reverse=True))


@lru_cache(maxsize=256)
def _comparable(secret: str) -> tuple[str, ...]:
    return tuple({_IGNORED.sub("", each) for each in _decodings(secret)})


def _decodings(text: str) -> Iterator[str]:
    """The text, and what it says decoded once, twice, and so on until it stays the same."""
    for _ in range(_MOST_ROUNDS):
        yield text
        before = text
        text = _SURROGATES.sub(_joined, _ESCAPED.sub(_character, text))
        text = unquote(html.unescape(text))
        if text == before:
            return
    yield text


def _character(escaped: re.Match[str]) -> str:
    digits = escaped[1] or escaped[2]
    return chr(int(digits, 16)) if digits else " "


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


# The loggers of botocore, by their names: a filter holds for one logger and not for those below it.
_OF_BOTOCORE: Final = (
    "args", "auth", "awsrequest", "client", "credentials", "endpoint", "handlers", "hooks",
    "httpchecksum", "httpsession", "parsers", "regions", "response", "retryhandler", "session",
    "signers", "tokens", "utils",
)  # fmt: skip


def keep_secrets_out() -> None:
    """Add the filters. A filter that is there already is not added twice."""
    log = logging.getLogger("httpx")
    log.addFilter(_origin_only)
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)  # a line a request is noise
    for name in ("httpcore.http11", "httpcore.http2"):
        logging.getLogger(name).addFilter(_without_headers)
    for name in _OF_BOTOCORE:
        logging.getLogger(f"botocore.{name}").addFilter(_without_details)


def _origin_only(record: logging.LogRecord) -> bool:
    """httpx logs each URL with its path and its query, either of which may carry a key."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            arg.copy_with(path="/", query=None) if isinstance(arg, httpx.URL) else arg
            for arg in record.args
        )
    return True


def _without_details(record: logging.LogRecord) -> bool:
    """botocore's details are what it signs and what comes: session tokens, keys of roles."""
    return record.levelno > logging.DEBUG


def _without_headers(record: logging.LogRecord) -> bool:
    """httpcore logs the headers of responses."""
    return "receive_response_headers.complete" not in record.getMessage()
