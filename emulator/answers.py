"""Queries to replies. Runs in the one thread that owns the store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from emulator.apicalypse import parse, parse_multi
from emulator.changes import change_rows
from emulator.evaluate import Row, fields_of
from emulator.faults import FaultKind
from emulator.project import check_fields, encode_rows, shape_rows
from emulator.query import Query, QueryError, Sort
from emulator.reply import Reply, json_reply
from emulator.settings import EmulatorSettings, cast_value
from emulator.store import Store


class Answers:
    """What the API says to a query that reached it."""

    def __init__(self, store: Store, settings: EmulatorSettings) -> None:
        self.store = store
        self._settings = settings

    def answer(
        self,
        path: str,
        body: str,
        fault: FaultKind | None = None,
        changes: Sequence[Mapping[str, object]] = (),
        now_s: int = 0,
    ) -> Reply:
        """The reply to `POST /v4/{path}`, after `changes`; `fault` may make it a wrong one."""
        try:
            for change in changes:
                change_rows(self.store, change, now_s)
            if path == "multiquery":
                return self._multi(body, fault)
            endpoint, _, rest = path.partition("/")
            if rest not in ("", "count"):
                raise QueryError("Not Found", f"No endpoint {path!r}", 404)
            self.store.table(endpoint)
            query = parse(body)
            if rest:
                return json_reply(200, {"count": self._count(endpoint, query)})
            rows, count = self._rows(endpoint, query, fault)
            return Reply(200, rows, rows=count)
        except QueryError as error:
            return json_reply(error.status, error.body())
        except ValueError as error:
            return json_reply(500, {"message": f"change_rows: {error}"})

    def _multi(self, body: str, fault: FaultKind | None) -> Reply:
        if not self._settings.multiquery:
            raise QueryError("Forbidden", "Multi-query is not available", 403)
        blocks = parse_multi(body)
        parts: list[bytes] = []
        total, before = 0, b"[]"
        for block in blocks:
            name = orjson.dumps(block.name)
            if block.count:
                count = self._count(block.endpoint, block.query)
                parts.append(b'{"name":%b,"count":%d}' % (name, count))
                continue
            kept = None if fault == "duplicate_page" else fault
            rows, count = self._rows(block.endpoint, block.query, kept)
            total += count
            if fault == "duplicate_page" and len(before) > 2:
                rows = before
            before = rows
            parts.append(b'{"name":%b,"result":%b}' % (name, rows))
        if fault == "missing_result":
            parts.pop()
        return Reply(200, b"[" + b",".join(parts) + b"]", rows=total, subqueries=len(blocks))

    def _count(self, endpoint: str, query: Query) -> int:
        return len(self._ids(endpoint, query))

    def _rows(self, endpoint: str, query: Query, fault: FaultKind | None) -> tuple[bytes, int]:
        ids = self._ids(endpoint, query)
        if fault == "empty_page":
            return b"[]", 0
        offset = query.offset
        if fault == "duplicate_page":
            offset = max(0, offset - query.limit)
        limit = min(query.limit, self._settings.page_cap or query.limit)
        page = ids[offset : offset + limit]
        table = self.store.table(endpoint)
        casts = {
            field: wanted
            for (name, field), wanted in self._settings.casts.items()
            if name == endpoint
        }
        if not casts:
            return encode_rows(self.store, table, page, query), len(page)
        rows = shape_rows(self.store, table, page, query)
        for row in rows:
            _cast(row, casts)
        return orjson.dumps(rows), len(page)

    def _ids(self, endpoint: str, query: Query) -> list[int]:
        check_fields(self.store, endpoint, query)
        if query.where is not None:
            for path in fields_of(query.where):
                self.store.check_field(endpoint, path)
        if query.search is not None:
            self.store.check_field(endpoint, "name")
            if query.sort is not None:
                raise QueryError("Invalid Query", "Sort is not applicable on search")
        if self._settings.ignore_where:
            query = replace(query, where=None)
        if self._settings.ignore_sort:
            query = replace(query, sort=Sort("checksum"))
        return self.store.select(endpoint, query)


def _cast(row: Row, casts: Mapping[str, object]) -> None:
    for field, wanted in casts.items():
        if field in row:
            if wanted == "absent":
                del row[field]
            else:
                row[field] = cast_value(row[field], wanted)  # type: ignore[arg-type]
