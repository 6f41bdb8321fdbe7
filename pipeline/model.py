"""The base of every model of a source's YAML: frozen, and strict about unknown keys."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

NAME = r"^[a-z][a-z0-9_]{0,62}$"
Name = Annotated[
    str,
    Field(
        pattern=NAME,
        description="lower case letters, digits and _, starting with a letter",
    ),
]
"""A name that becomes a Dagster asset key and a piece of an S3 key."""


def fits_header(value: str) -> bool:
    """Whether an API can read a text in a header."""
    return value.isascii() and value.isprintable()


def _is_header(value: str) -> str:
    if not fits_header(value):
        raise ValueError("a header has a line break or a letter beyond ASCII: no API can read it")
    return value


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_HTTP = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer"}
    | {"upgrade", "expect", "proxy-connection"}
)


def header_name(name: str) -> str:
    """The name, if a request may have a header of it. :raises ValueError: it may not."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(
            "expected the name of a header: letters, digits and -, without blanks or colons"
        )
    if name.lower() in _OF_HTTP:
        raise ValueError(f"the header {name} is HTTP's own, and is set by Headrace: leave it out")
    return name


HeaderName = Annotated[str, AfterValidator(header_name)]
HeaderText = Annotated[str, AfterValidator(_is_header)]


def _has_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")
        parts.port  # noqa: B018 - looking at it raises
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):  # UnicodeError is a ValueError
        host = ""
    if not host:
        raise ValueError("expected a host name, and a port up to 65535 if there is one")
    return url


BASE_URL = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"
HostUrl = Annotated[str, AfterValidator(_has_host)]
"""Checked without a lookup. Errors don't repeat the URL, since a password may be in it."""

JMESPATH = "jmespath:"
"""Begins an expression in the place of a path."""
_ODATA = re.compile(r"(?:^|[.@])odata\.")


def _is_path(path: str) -> str:
    """A name with a dot in it, read as two, is nowhere: pages would end with the first."""
    if _ODATA.search(path) and not path.startswith(JMESPATH):
        escaped = re.sub(r"odata\.", r"odata\\.", path)
        raise ValueError(
            f"{path!r} leads from one member into another, but the dot is part of OData's name: "
            f"write '{escaped}'"
        )
    return path


RowsPath = Annotated[str, AfterValidator(_is_path)]
DottedPath = Annotated[
    RowsPath,
    Field(
        min_length=1,
        description="members of a JSON object, joined with dots; \\. is a dot in a name",
    ),
]


def _several(paths: Any) -> Any:
    return (paths,) if isinstance(paths, str) else paths


DottedPaths = Annotated[
    Annotated[tuple[DottedPath, ...], Field(min_length=1)],
    BeforeValidator(
        _several,
        json_schema_input_type=DottedPath | Annotated[list[DottedPath], Field(min_length=1)],
    ),
]
"""A path, or a list of those of which the first that leads to a value counts."""


class Model(BaseModel):
    """Frozen, no unknown keys; a repr shows no secret (secrets are ``SecretStr``)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy whose cached properties are its own."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy


def split_path(path: str) -> tuple[str, ...]:
    """``"a.b"`` → ``("a", "b")``; an empty path is the value itself; ``\\.`` is a dot in a name."""
    parts = re.split(r"(?<!\\)\.", path)
    return tuple(part.replace("\\.", ".") for part in parts if part)
