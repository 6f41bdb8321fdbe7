"""Apicalypse text to `Query` or `Block`s: a recursive-descent parser.

`&` binds tighter than `|`. Every statement ends in `;`, and none comes twice. Which fields
exist is not known here.
"""

from typing import cast

from emulator.query import (
    DEFAULT_LIMIT,
    MAX_BLOCKS,
    MAX_LIMIT,
    And,
    Block,
    Compare,
    CompareOp,
    Match,
    MatchKind,
    MemberMode,
    Members,
    Or,
    Query,
    QueryError,
    Scalar,
    Sort,
    Where,
)
from emulator.tokens import Token, tokenize

_KEYWORDS = {"f": "fields", "x": "exclude", "w": "where", "l": "limit", "o": "offset", "s": "sort"}
_STATEMENTS = frozenset({*_KEYWORDS.values(), "search"})
_LISTS: dict[str, tuple[str, MemberMode]] = {
    "[": ("]", "all"),
    "(": (")", "any"),
    "{": ("}", "exact"),
}
_LITERALS: dict[str, Scalar] = {"null": None, "true": True, "false": False}
_COMPARE_OPS = frozenset({"=", "!=", ">", ">=", "<", "<="})
MAX_DEPTH = 50


def parse(source: str) -> Query:
    """One query, as it is posted to an endpoint."""
    parser = _Parser(tokenize(source))
    query = parser.query(until="end of query")
    return query


def parse_multi(source: str) -> list[Block]:
    """The blocks of a multi-query, at most ten."""
    blocks = _Parser(tokenize(source)).blocks()
    if not blocks:
        raise QueryError("Syntax Error", 'Expecting `query endpoint "Name" { };`')
    if len(blocks) > MAX_BLOCKS:
        cause = f"You can only have {MAX_BLOCKS} queries in a multiquery, found {len(blocks)}"
        raise QueryError("Too Many Concurrent queries", cause)
    return blocks


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _is(self, *ops: str) -> bool:
        return self._next.kind == "op" and self._next.text in ops

    def _expect(self, op: str) -> None:
        if not self._is(op):
            raise _expected(f"`{op}`", self._next)
        self._take()

    def _end_of_statement(self) -> None:
        if self._next.kind == "end":
            raise QueryError("Syntax Error", "Missing `;` at end of query")
        self._expect(";")

    def _text(self, kind: str, what: str) -> str:
        if self._next.kind != kind:
            raise _expected(what, self._next)
        return self._take().text

    def blocks(self) -> list[Block]:
        found: list[Block] = []
        while self._next.kind != "end":
            if self._text("name", "`query`") != "query":
                raise QueryError("Syntax Error", "Expecting `query`")
            endpoint, _, suffix = self._text("name", "an endpoint").partition("/")
            if suffix not in ("", "count"):
                raise QueryError("Syntax Error", f"Unknown suffix `/{suffix}`")
            name = self._text("string", 'a "Name"')
            self._expect("{")
            query = self.query(until="}")
            self._expect("}")
            self._end_of_statement()
            found.append(Block(endpoint, name, suffix == "count", query))
        return found

    def query(self, until: str) -> Query:
        fields: tuple[str, ...] = ()
        exclude: tuple[str, ...] = ()
        where: Where | None = None
        sort: Sort | None = None
        search: str | None = None
        limit, offset = DEFAULT_LIMIT, 0
        seen: set[str] = set()
        while not (self._next.kind == "end" if until == "end of query" else self._is(until)):
            statement = self._statement(seen)
            if statement == "fields":
                fields = self._fields()
            elif statement == "exclude":
                exclude = self._fields()
            elif statement == "where":
                where = self._or()
            elif statement == "sort":
                sort = self._sort()
            elif statement == "search":
                search = self._search()
            elif statement == "limit":
                limit = self._limit()
            else:
                offset = self._natural("offset")
            self._end_of_statement()
        return Query(fields, exclude, where, limit, offset, sort, search)

    def _statement(self, seen: set[str]) -> str:
        word = self._text("name", "a statement")
        statement = _KEYWORDS.get(word, word)
        if statement not in _STATEMENTS:
            raise QueryError("Syntax Error", f"Unknown statement `{word}`")
        if statement in seen:
            raise QueryError("Syntax Error", f"Statement `{statement}` given twice")
        seen.add(statement)
        return statement

    def _fields(self) -> tuple[str, ...]:
        names = [self._field_or_star()]
        while self._is(","):
            self._take()
            names.append(self._field_or_star())
        return tuple(names)

    def _field_or_star(self) -> str:
        if self._is("*"):
            return self._take().text
        return self._text("name", "a field")

    def _sort(self) -> Sort:
        field = self._text("name", "a field")
        if self._next.kind != "name":
            return Sort(field)
        direction = self._take().text
        if direction not in ("asc", "desc"):
            raise QueryError("Syntax Error", f"Expecting `asc` or `desc`, got `{direction}`")
        return Sort(field, direction == "desc")

    def _search(self) -> str:
        return self._text("string", 'a "text"')

    def _limit(self) -> int:
        limit = self._natural("limit")
        if limit > MAX_LIMIT:
            raise QueryError("Invalid Limit", f"Limit is {limit}, the maximum is {MAX_LIMIT}")
        return limit

    def _natural(self, what: str) -> int:
        text = self._text("number", f"a number for {what}")
        if not text.isdigit():
            raise QueryError("Syntax Error", f"Expecting a whole number for {what}, got `{text}`")
        return int(text)

    def _or(self) -> Where:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise QueryError("Syntax Error", f"Parentheses nested deeper than {MAX_DEPTH}")
        parts = [self._and()]
        while self._is("|"):
            self._take()
            parts.append(self._and())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Where:
        parts = [self._primary()]
        while self._is("&"):
            self._take()
            parts.append(self._primary())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _primary(self) -> Where:
        if self._is("("):
            self._take()
            inner = self._or()
            self._expect(")")
            return inner
        field = self._text("name", "a field")
        op = self._text("op", "an operator")
        if op in ("~", "!~"):
            kind, text = self._pattern()
            return Match(field, kind, text, fold=True, negated=op == "!~")
        if op not in _COMPARE_OPS:
            raise QueryError("Syntax Error", f"Unknown operator `{op}` after `{field}`")
        if op in ("=", "!=") and self._is("!", *_LISTS):
            return self._members(field, negated=op == "!=")
        if op in ("=", "!=") and (self._is("*") or self._next.kind == "string"):
            kind, text = self._pattern()
            if kind != "exact":
                return Match(field, kind, text, fold=False, negated=op == "!=")
            return Compare(field, cast(CompareOp, op), text)
        return Compare(field, cast(CompareOp, op), self._scalar())

    def _pattern(self) -> tuple[MatchKind, str]:
        leading = self._is("*")
        if leading:
            self._take()
        text = self._text("string", 'a "text"')
        trailing = self._is("*")
        if trailing:
            self._take()
        if leading:
            return ("infix" if trailing else "suffix"), text
        return ("prefix" if trailing else "exact"), text

    def _members(self, field: str, *, negated: bool) -> Members:
        if self._is("!"):
            self._take()
            negated = not negated
        opening = self._text("op", "a list")
        if opening not in _LISTS:
            raise QueryError("Syntax Error", f"Expecting a list after `{field}`, got `{opening}`")
        closing, mode = _LISTS[opening]
        values = [self._scalar()]
        while self._is(","):
            self._take()
            values.append(self._scalar())
        self._expect(closing)
        return Members(field, mode, tuple(values), negated)

    def _scalar(self) -> Scalar:
        token = self._take()
        if token.kind == "string":
            return token.text
        if token.kind == "number":
            return float(token.text) if "." in token.text else int(token.text)
        if token.kind == "name" and token.text in _LITERALS:
            return _LITERALS[token.text]
        raise _expected("a value", token)


def _expected(what: str, got: Token) -> QueryError:
    if got.kind == "end":
        return QueryError("Syntax Error", f"Missing `;` at end of query, expecting {what}")
    return QueryError("Syntax Error", f"Expecting {what}, got `{got.text}`")
