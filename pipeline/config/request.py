"""How an endpoint is requested: templates for plain HTTP, or IGDB's query language.

In a template, ``{start}`` and ``{end}`` are the window, ``{limit}``, ``{offset}``, ``{after}``,
``{before}``, ``{page}`` and ``{token}`` the page, ``{parent}`` a row of the parent endpoint and
``{each}`` a value of ``each``; ``{parent.COLUMN}`` is another column of that row, ``{each.NAME}`` a
value of a named list. ``{now}`` is when the partition is read, or its end if that is earlier, and
``{now-7d}`` a time before it (``d``, ``h``, ``m``), written as ``window.format`` says. A parameter,
header or body member that needs a value which this request does not have (no lower bound in a
baseline, no token on a first page) is left out. Of a text with a part in ``[[ ]]`` only that part
is: ``[[id > {after} and ]]changed >= {start}``.

``{after|odata}`` says how a value is written inside a query language, ``{each|path}`` that a value
is several segments of a path: ``dialects.quoting`` has them all.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from pipeline.model import DottedPath, HeaderName, HeaderText, Model
from pipeline.timestamps import read_local

PLACEHOLDERS = (
    "start", "end", "limit", "offset", "after", "before", "page", "token", "parent", "each",
)  # fmt: skip
_NAMES = "|".join(PLACEHOLDERS) + r"|(?:parent|each)\.\w+(?:\.\w+)*|now(?:-\d{1,6}[dhm])?"
QUOTES = ("odata", "sql", "json", "jql", "url", "path", "raw")
"""How a placeholder's value is written, after a bar: ``{after|odata}``."""
PLACEHOLDER = re.compile(r"\{(" + _NAMES + r")(?:\|(\w*))?\}")
"""Groups: the name, and the quote if one is given."""
OPTIONAL = re.compile(
    r"\[\[((?:(?!\[\[|\]\]).)*?\{(?:" + _NAMES + r")(?:\|\w*)?\}(?:(?!\[\[).)*?)\]\]",
    re.DOTALL,
)
"""A part of a text that is left out if a placeholder in it has no value."""


_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def before_now(name: str) -> timedelta | None:
    """How long before now a placeholder lies; None if it is none of now."""
    if name == "now":
        return timedelta()
    if not name.startswith("now-"):
        return None
    return timedelta(**{_UNITS[name[-1]]: int(name[4:-1])})


@lru_cache(maxsize=1024)
def placeholders_in(text: str) -> frozenset[str]:
    """The names of the placeholders in a text, however their values are quoted."""
    return frozenset(name for name, _ in PLACEHOLDER.findall(text))


class RequestDialect(Model):
    """The request of an endpoint's pages: what the engine asks of it, whichever dialect it is in.

    There are two, a closed pair: plain HTTP, and IGDB's query language. ``pipeline.dialects``
    writes the HTTP request of either.
    """

    @property
    def templates(self) -> tuple[Any, ...]:
        """All that may have placeholders in it, besides the path."""
        return ()

    @property
    def placeholders(self) -> frozenset[str] | None:
        """The placeholders in the templates; None: the dialect has none."""
        return None

    @property
    def can_seek(self) -> bool:
        """True if rows after a given key can be requested."""
        return True

    @property
    def is_get(self) -> bool:
        """True if pages are requested with GET."""
        return False

    @property
    def pages_per_request(self) -> int:
        """How many pages may share an HTTP request."""
        return 1

    @property
    def header_placeholders(self) -> frozenset[str]:
        """The placeholders whose values go into a header."""
        return frozenset()

    @property
    def token_params(self) -> tuple[str, ...] | None:
        """The parameters that a page token is in, beside others; None: it has none beside it."""
        return None

    def with_fields(self, names: Sequence[str]) -> Self:
        """The request of these fields alone, where an API can be asked for single ones."""
        return self


class HttpTemplate(RequestDialect):
    """A plain HTTP request."""

    dialect: Literal["http"] = "http"
    method: Literal["GET", "POST"] = Field("GET", description="of the requests")
    # Settings in them may be secret: no repr shows them.
    params: dict[str, str | int | float | bool | list[str]] = Field(
        {}, repr=False, description="parameters of the URL"
    )
    headers: dict[HeaderName, HeaderText] = Field(
        {}, repr=False, description="sent with the requests of this endpoint"
    )
    json_body: dict[str, Any] | None = Field(
        None, alias="json", repr=False, description="the body, as a JSON object"
    )
    form: dict[str, str | list[str]] | None = Field(
        None, repr=False, description="the body, as a form; of a list each item is sent"
    )
    text: str | None = Field(None, repr=False, description="the body, as text")
    with_token: tuple[str, ...] = Field(
        (),
        description="the parameters (or members of json and form) that a request with a token "
        "has; the others are left out there (Amazon: NextToken alone)",
    )

    @property
    def templates(self) -> tuple[Any, ...]:
        return self.params, self.headers, self.json_body, self.form, self.text

    @property
    def placeholders(self) -> frozenset[str]:
        return placeholders_in(" ".join(str(part) for part in self.templates))

    @property
    def can_seek(self) -> bool:
        return "after" in self.placeholders

    @property
    def is_get(self) -> bool:
        return self.method == "GET"

    @property
    def header_placeholders(self) -> frozenset[str]:
        return placeholders_in(str(self.headers))

    @property
    def token_params(self) -> tuple[str, ...] | None:
        if self.with_token:
            return None
        return tuple(
            n for n, value in self.params.items() if "token" in placeholders_in(str(value))
        )


class Apicalypse(RequestDialect):
    """IGDB's query language (https://api-docs.igdb.com/#apicalypse), as a POST body."""

    dialect: Literal["apicalypse"]
    fields: str = Field("*", description="which fields are requested")
    exclude: str | None = Field(None, description="fields that are not requested")
    where: str | None = Field(None, description="a condition that all rows must meet")
    pack: int = Field(10, ge=1, le=10, description="pages in one /multiquery request")

    @property
    def pages_per_request(self) -> int:
        return self.pack

    def with_fields(self, names: Sequence[str]) -> Self:
        return self.model_copy(update={"fields": ",".join(names)})


def _dialect(request: Any) -> Any:
    """Plain HTTP unless the YAML says otherwise."""
    if isinstance(request, dict):
        return request.get("dialect", "http")
    return getattr(request, "dialect", None)


Request = Annotated[
    Annotated[HttpTemplate, Tag("http")] | Annotated[Apicalypse, Tag("apicalypse")],
    Discriminator(_dialect),
]


_FINEST = (
    (("%f",), 1e-6),
    (("%S", "%T", "%X", "%c", "%r"), 1.0),
    (("%M", "%R"), 60.0),
    (("%H", "%I"), 3600.0),
)
"""Directives of strftime that say which part of a time is written, and its step in seconds."""

_EPOCH = re.compile(r"%(?:%|[-_0^#]*\d*[EO]?(s))")  # %% is a percent sign, %-s as good as %s
DAY_S = 86_400.0
_EPOCH_S = {"epoch_s": 1.0, "epoch_ms": 0.001}
_WRITTEN_S = {**_EPOCH_S, "iso": 0.000_001}


class WindowFormat(Model):
    """How the window's bounds are written, and what the API does at them.

    ``resolution_s`` is the step in which bounds are written. Rows outside the window that come
    along, such as those at an inclusive end, are dropped: they are the next partition's. With an
    inclusive end in whole days the day before the end is requested. Where an API knows no upper
    bound (``end: none``), rows after the window are dropped on arrival; with
    ``start: none`` those before it as well, and whether the API reached back so far is checked.
    """

    format: str = Field(
        "iso", description="epoch_s, epoch_ms, iso, or a strftime pattern such as %Y-%m-%d"
    )
    start: Literal["inclusive", "exclusive", "none"] = Field(
        "inclusive", description="none: the API knows no lower bound (a feed of the latest rows)"
    )
    end: Literal["inclusive", "exclusive", "none"] = Field(
        "exclusive", description="none: the API knows no upper bound, {end} has no value"
    )
    together: bool = Field(
        False, description="both bounds or neither: a baseline is requested without {end} as well"
    )
    resolution_s: float = Field(1.0, gt=0, description="the step of the bounds, in seconds")
    max_s: float | None = Field(None, gt=0, description="longest window that the API accepts")
    timezone: str | None = Field(
        None,
        description="the zone in which the API writes and reads times without an offset, e.g. "
        "America/Chicago: bounds are written, and such values are read, in it; default: UTC, with "
        "a warning",
    )
    floor: str | None = Field(
        None,
        description="lower bound of a baseline, where the API wants one: a day or a time, "
        "written by format, or a number of the epoch; with a strftime pattern, other text as it is",
    )

    @property
    def floor_at(self) -> datetime | None:
        """The floor as an instant; None if there is none, or in the API's own words."""
        if self.floor is None:
            return None
        try:
            if self.format in _EPOCH_S and self.floor.lstrip("-").isdigit():
                return datetime.fromtimestamp(int(self.floor) * _EPOCH_S[self.format], UTC)
            floor = datetime.fromisoformat(self.floor)
        except (ValueError, OverflowError, OSError):
            return None
        return floor.astimezone(UTC) if floor.tzinfo else read_local(floor, self.zone)

    @property
    def zone(self) -> tzinfo:
        """The zone of times without an offset."""
        return UTC if self.timezone in (None, "UTC") else ZoneInfo(str(self.timezone))

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            raise ValueError(
                f"expected an IANA time zone such as UTC or America/Chicago, got {name!r}"
            )
        return name

    @model_validator(mode="after")
    def _format_is_utc(self) -> "WindowFormat":
        """All directives of strftime write what they are given, but for this one."""
        if any(_EPOCH.findall(self.format)):
            raise ValueError(
                f"`format: {self.format}` has %s, which counts in the time zone of the machine: "
                "write `format: epoch_s` for seconds since 1970, or `epoch_ms` for milliseconds"
            )
        return self

    @model_validator(mode="after")
    def _floor_is_a_time(self) -> "WindowFormat":
        """Sent as it is, a day in place of a number would be ignored by one API or another."""
        if self.floor is None or "%" in self.format or self.floor_at is not None:
            return self
        raise ValueError(
            f"`floor: {self.floor}` is no day or time: expected e.g. '1970-01-01', which is "
            f"written as `format: {self.format}` says"
        )

    @model_validator(mode="after")
    def _format_says_enough(self) -> "WindowFormat":
        """A bound cut to less than the step that it stands for would lose rows."""
        if "%" not in self.format and self.format not in _WRITTEN_S:
            raise ValueError(
                f"`format: {self.format}` is not known: expected `epoch_s`, `epoch_ms`, `iso` or a "
                "strftime pattern such as `%Y-%m-%d`"
            )
        written_s = _WRITTEN_S.get(self.format) or next(
            (step for names, step in _FINEST if any(n in self.format for n in names)), DAY_S
        )
        if round(self.resolution_s * 1e6) % round(written_s * 1e6):
            raise ValueError(
                f"`format: {self.format}` writes steps of {written_s:g} s: set `resolution_s: "
                f"{written_s:g}` or a multiple of it, or write more of the time"
            )
        return self


class CountConfig(Model):
    """A request whose response says how many rows match."""

    path: str = Field("{path}/count", repr=False, description="{path} is the endpoint's own path")
    at: DottedPath = Field("count", description="where the response has the count")
