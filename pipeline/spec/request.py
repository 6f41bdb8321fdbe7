"""How an endpoint is asked: templates for plain HTTP, or IGDB's query language.

In a template, ``{start}`` and ``{end}`` are the window, ``{limit}``, ``{offset}``, ``{after}``,
``{before}``, ``{page}`` and ``{token}`` the page, ``{parent}`` a row of the parent endpoint. A
parameter, header or body member that needs a value which this request does not have (no lower bound
in a baseline, no token on a first page) is left out.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.spec.model import DottedPath, Model

PLACEHOLDERS = ("start", "end", "limit", "offset", "after", "before", "page", "token", "parent")


class Http(Model):
    """A plain HTTP request."""

    dialect: Literal["http"] = "http"
    method: Literal["GET", "POST"] = "GET"
    params: dict[str, str | int | float | bool | list[str]] = {}
    headers: dict[str, str] = {}
    json_body: dict[str, Any] | None = Field(None, alias="json")
    form: dict[str, str] | None = None
    text: str | None = None


class Apicalypse(Model):
    """IGDB's query language (https://api-docs.igdb.com/#apicalypse), as a POST body."""

    dialect: Literal["apicalypse"]
    fields: str = "*"
    exclude: str | None = None
    where: str | None = Field(None, description="a condition that all rows must meet")
    pack: int = Field(10, ge=1, le=10, description="pages in one /multiquery request")


Request = Annotated[Http | Apicalypse, Field(discriminator="dialect")]


class WindowFormat(Model):
    """How the window's bounds are written, and what the API does at them.

    ``resolution_s`` is the step of the cursor: with an inclusive end the last instant asked for is
    one step before the window's end, so that nothing at the boundary is lost or doubled.
    """

    format: str = Field(
        "iso", description="epoch_s, epoch_ms, iso, or a strftime pattern such as %Y-%m-%d"
    )
    start: Literal["inclusive", "exclusive"] = "inclusive"
    end: Literal["inclusive", "exclusive"] = "exclusive"
    resolution_s: float = Field(1.0, gt=0)
    max_s: float | None = Field(None, gt=0, description="longest window that the API answers")
    floor: str | None = Field(
        None, description="lower bound to ask a baseline with, where the API wants one"
    )


class Count(Model):
    """A request that answers how many rows match."""

    path: str = Field("{path}/count", description="{path} is the endpoint's own path")
    at: DottedPath = "count"
