"""The abstract syntax of Apicalypse: frozen and hashable, so that results can be cached by it.

Also the one error that a query can end in, in the shape of IGDB's own 400 bodies.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Scalar: TypeAlias = bool | int | float | str | None
CompareOp: TypeAlias = Literal["=", "!=", ">", ">=", "<", "<="]
MatchKind: TypeAlias = Literal["exact", "prefix", "suffix", "infix"]
MemberMode: TypeAlias = Literal["all", "any", "exact"]

DEFAULT_LIMIT = 10
MAX_LIMIT = 500
MAX_BLOCKS = 10


class QueryError(Exception):
    """A query that IGDB answers with an error array."""

    def __init__(self, title: str, cause: str, status: int = 400) -> None:
        super().__init__(f"{title}: {cause}")
        self.title = title
        self.cause = cause
        self.status = status

    def body(self) -> list[dict[str, object]]:
        """The JSON body, an array of one object."""
        return [{"title": self.title, "status": self.status, "cause": self.cause}]


@dataclass(frozen=True, slots=True)
class Compare:
    """`field op value`; `null` stands for a field that the row does not have."""

    field: str
    op: CompareOp
    value: Scalar


@dataclass(frozen=True, slots=True)
class Match:
    """A string pattern; `fold` ignores case."""

    field: str
    kind: MatchKind
    text: str
    fold: bool
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Members:
    """`[..]` all, `(..)` any, `{..}` exactly these."""

    field: str
    mode: MemberMode
    values: tuple[Scalar, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds."""

    parts: tuple["Where", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple["Where", ...]


Where: TypeAlias = Compare | Match | Members | And | Or


@dataclass(frozen=True, slots=True)
class Sort:
    """One field; IGDB sorts by no more than one."""

    field: str = "id"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One request for rows. No fields means ids only."""

    fields: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    where: Where | None = None
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    sort: Sort | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One `query endpoint "Name" { … };` of a multi-query."""

    endpoint: str
    name: str
    count: bool
    query: Query
