"""Pages that follow each other by a function of the user's."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from pipeline.errors import ContractBroken
from pipeline.hooks import load_function
from pipeline.model import DottedPath
from pipeline.pagination.base import PAGINATION, Paging, whole_total
from pipeline.pagination.page import Key, PageContent, PageInfo, PageRequest, PageToken

_TYPES: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("limit", "offset", "page"), int | None),
    "token": PageToken,
    "url": str | None,
    **dict.fromkeys(("after", "before"), Key),
}
"""What the function may give, by the attribute of ``PageRequest``."""


@PAGINATION.register("python")
class CustomPaging(Paging):
    """A pager of the user's own: ``next(request, info) -> request | None``, by import path.

    ``request`` is the ``PageRequest`` of a page, ``info`` the ``PageInfo`` that came of it::

        def next_page(request: PageRequest, info: PageInfo) -> PageRequest | None:
            return dataclasses.replace(request, after=info.last) if info.rows else None
    """

    kind: Literal["python"] = "python"
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="module:function")
    limit: int = Field(gt=0, description="rows a page")
    total: DottedPath | None = Field(None, description="where the page says how many rows match")
    fills: ClassVar[frozenset[str]] = frozenset({"offset", "page", "token", "after", "before"})

    def fitted(self, order: str) -> "CustomPaging":
        load_function(self.path, "paging.path")
        return self

    @property
    def total_at(self) -> str | None:
        return self.total

    def references(self) -> dict[str, str]:
        return {"total": self.total} if self.total else {}

    def total_of(self, content: PageContent) -> int | None:
        return whole_total(content.members.get("total"))

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        """:raises ContractBroken: the function fails, or returns what is no request of a page."""
        return checked(load_function(self.path, "paging.path"), self.path)(request, info)


def checked(
    function: Callable[[PageRequest, PageInfo], Any], path: str
) -> Callable[[PageRequest, PageInfo], PageRequest | None]:
    """The user's function, held to what it may return: a ``PageRequest`` that fits into a request.

    Whatever else it returns or raises fails its endpoint, and no other.
    """

    def next_request(request: PageRequest, info: PageInfo) -> PageRequest | None:
        try:
            following = function(request, info)
        except Exception as error:
            raise ContractBroken(
                f"paging `{path}` failed: {type(error).__name__}: {error}"
            ) from error
        if following is None:
            return None
        if not isinstance(following, PageRequest):
            raise ContractBroken(
                f"paging `{path}`: expected PageRequest or None, got {type(following)}"
            )
        for name, kind in _TYPES.items():
            value = getattr(following, name)
            if not isinstance(value, kind):
                raise ContractBroken(
                    f"paging `{path}`: expected `{name}` to be {kind}, got {type(value).__name__}"
                )
        return following

    return next_request
