"""A walk through the refusals: each names a line of YAML, and with that line the rows come."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
DAY = "2026-11-04"
Respond = Callable[[Mapping[str, str], Mapping[str, str]], Response]


def said(body: Any, status: int = 200, **headers: str) -> Response:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(text, status, {name.replace("_", "-"): v for name, v in headers.items()})


def always(body: Any, status: int = 200) -> Respond:
    return lambda params, headers: said(body, status)


def in_turn(refusal: Response, times: int) -> Respond:
    """The refusal so many times, then a row."""
    responses = iter([refusal] * times)
    return lambda params, headers: next(responses, said([{"id": 1}]))


@dataclass(frozen=True)
class Walk:
    """One refusal, and the way out of it.

    :ivar yaml: lines of the endpoint. :ivar remedy: what the sentence has to have.
    :ivar mended: the lines instead; a text that begins with + is added to ``yaml``.
    :ivar rows: that come then. :ivar source: lines of the source; ``source_mended`` instead.
    """

    respond: Respond
    yaml: str
    remedy: str
    mended: str
    rows: int
    source: str = ""
    source_mended: str = ""
    days: tuple[str, ...] = field(default=(DAY,))


def source_at(url: str, lines: str, more: str) -> Source:
    indented = "\n".join(f"    {line}" for line in lines.strip().splitlines())
    return source_of(
        f"source: api\nbase_url: {url}\nstart: {DAY}\n{more}\n"
        "retries: {errors: 0, first_wait_s: 0.001, max_wait_s: 0.002}\n"
        f"endpoints:\n  things:\n{indented}\n"
    )


def in_pages(rows: list[Any], size: int = 3) -> Respond:
    def respond(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        first = int(params.get("offset", 0)) or (int(params.get("page", 1)) - 1) * size
        return said({"data": rows[first : first + size], "total": len(rows)})

    return respond


def by_key(rows: list[Any], *, inclusive: bool) -> Respond:
    def respond(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        after = int(params.get("after", -1))
        found = [row for row in rows if row["id"] > after or (inclusive and row["id"] == after)]
        return said(found[:3])

    return respond


def expiring(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    chain, at = map(int, params.get("token", "0:0").split(":"))
    expiring.chains += "token" not in params  # type: ignore[attr-defined]
    chain = chain or expiring.chains  # type: ignore[attr-defined]
    if at == 4 and chain < 3:
        return said({"error": "this cursor has expired"}, 410)
    rows = [{"id": n} for n in range(at, at + 2)]
    return said({"data": rows, "next": f"{chain}:{at + 2}" if at < 6 else None})


expiring.chains = 0  # type: ignore[attr-defined]


def token_alone(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    if "token" in params and "size" in params:
        return said({"error": "no other parameter beside the token"}, 400)
    at = int(params.get("token", 0))
    rows = [{"id": n} for n in range(at, at + 2)]
    return said({"data": rows, "next": at + 2 if at < 4 else None})


def minus_one_at_the_end(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    at = int(params.get("token", 0))
    if at < 0:
        return said({"error": "bad token"}, 400)
    return said({"data": [{"id": n} for n in (at, at + 1)], "next": at + 2 if at < 4 else -1})


def of_session(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    at = int(params.get("token", 0))
    if at and "node=7" not in headers.get("cookie", ""):
        return said({"error": "unknown token"}, 400)
    rows = [{"id": n} for n in range(at, at + 2)]
    page = {"data": rows, "next": at + 2 if at < 4 else None}
    return said(page, set_cookie="node=7; Path=/")


def behind_the_last(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    page = int(params["page"])
    if page > 2:
        return said({"error": "no such page"}, 404)
    return said({"data": [{"id": n} for n in range(page * 3, page * 3 + 3)], "total": 6})


def of_filter(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    name = re.fullmatch(r"name eq '((?:[^']|'')*)'", params["filter"])
    if name is None:
        return said({"error": "syntax"}, 400)
    return said([{"id": len(name[1])}])


def by_multiples(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    """Offsets are rounded down to whole pages."""
    first = int(params["offset"]) // 3 * 3
    return said({"data": [{"id": n} for n in range(first, min(first + 3, 8))], "total": 8})


def at_most_a_thousand(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    """1,500 rows in a day, of which one search gives a thousand."""
    page, size = int(params["page"]), 250
    if page * size > 1_000:
        return said({"error": "result window is too large"}, 400)
    times = {n: f"2026-11-04T{n // 70:02}:{n % 60:02}:00Z" for n in range(1_500)}
    rows = [{"id": n, "at": at} for n, at in times.items() if params["from"] <= at < params["to"]]
    return said({"data": rows[(page - 1) * size : page * size], "total": len(rows)})


SEARCH = (
    "request: {params: {from: '{start}', to: '{end}', page: '{page}'}}\nrows: data\nkey: [id]\n"
    "cursor: at\ncolumns: {id: int64, at: 'timestamp[iso]'}\nwindow: {floor: '2026-11-01'}\n"
    "paging: {kind: page, limit: 250, total: total}"
)
VERSIONS = [{"id": n // 2, "at": f"2026-11-04T0{n % 2}:00:00Z", "state": n % 2} for n in range(6)]
IDS = [{"id": n} for n in range(1, 8)]
TOKENS = "paging: {kind: token, limit: 2, next: next}\nrows: data\nkey: [id]"


def numbered(missing: Response, **beside: str) -> Respond:
    """Two full pages of two rows; behind them ``missing``. Each has what stands ``beside``."""

    def respond(params: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        page = int(params["page"])
        rows = [{"id": 2 * page}, {"id": 2 * page + 1}]
        flags = {name: values[page - 1] for name, values in beside.items() if page < 3}
        return said({"data": rows, **flags}) if page < 3 else missing

    return respond


PAGES = 'request: {params: {page: "{page}"}}\nrows: data\nkey: [id]\npaging: {kind: page, limit: 2'
WALKS: dict[str, Walk] = {
    "a key that is null": Walk(
        always([{"id": 1}, {"id": None}]), "key: [id]", "2. `key: none`", "key: none", 2
    ),
    "no page behind the last one, and no count": Walk(
        numbered(said({"detail": "Invalid page."}, 404)),
        PAGES + "}",
        "`answers: {empty: [404]}` at the endpoint",
        "+answers: {empty: [404]}",
        4,
    ),
    "a flag in other words": Walk(
        numbered(said({"data": [], "more": "C"}), more="CE"),
        PAGES + ", more: more}",
        "as in {at: more, value: Y}",
        PAGES + ", more: {at: more, value: C}}",
        4,
    ),
    "an object for a list": Walk(
        always({"data": {"id": 1}}), "rows: data\nkey: [id]", "`as: object`", "+as: object", 1
    ),
    "an object or a list": Walk(
        always({"data": {"id": 1}}),
        "rows: data\nkey: [id]",
        "`as: object_or_list`",
        "+as: object_or_list",
        1,
    ),
    "rows by their id": Walk(
        always({"data": {"a": {"n": 1}, "b": {"n": 2}}}),
        "rows: data\nkey: [id]",
        "`as: map`",
        "+as: map\nkey_column: id",
        2,
    ),
    "single values": Walk(
        always({"data": ["a", "b", "c"]}),
        "rows: data\nkey: [value]",
        "as: scalars",
        "+as: scalars",
        3,
    ),
    "rows as arrays": Walk(
        always({"data": [[1, "a"], [2, "b"]]}),
        "rows: data\nkey: [id]\ncolumns: {id: {type: int64, path: '0'}}",
        "as: values",
        "+as: values",
        2,
    ),
    "arrays beside their names": Walk(
        always({"names": ["id", "n"], "data": [[1, 5], [2, 6]]}),
        "rows: data\nkey: [id]",
        "as: columns",
        "+as: columns\nnames_at: names",
        2,
    ),
    "rows inside of lists": Walk(
        always({"data": [{"items": [{"id": 1}]}, {"items": [{"id": 2}, {"id": 3}]}]}),
        "rows: data.items\nkey: [id]",
        "data.*.items",
        "rows: data.*.items\nkey: [id]",
        3,
    ),
    "a member that is left out": Walk(
        always({"meta": {}}),
        "rows: data\nkey: [id]",
        "rows_may_lack: true",
        "+rows_may_lack: true",
        0,
    ),
    "lines": Walk(
        always(b'{"id": 1}\n{"id": 2}\n'), "key: [id]", "`format: jsonl`", "+format: jsonl", 2
    ),
    "csv": Walk(always(b"id,n\n1,a\n2,b\n"), "key: [id]", "`format: csv`", "+format: csv", 2),
    "a delimiter": Walk(
        always(b"id;n\n1;a,x\n2;b\n"),
        "key: [id]\nformat: csv",
        "`format.delimiter`",
        "key: [id]\nformat: {kind: csv, delimiter: ';'}",
        2,
    ),
    "words in place of a table": Walk(
        always(b"No data available\n"),
        "key: [id]\nformat: csv",
        "`answers: {empty: [200], empty_text: …}`",
        "+answers: {empty: [200], empty_text: No data available}",
        0,
    ),
    "a total below the rows of CSV": Walk(
        always(b"id,n\n1,2\nTotal,2\n"),
        "key: [id]\nformat: csv\ncolumns: {id: int64}\nwhole: true",
        "`columns: {id: string}` and `where: {id: {not: Total}}`",
        "key: [id]\nformat: csv\ncolumns: {id: string}\nwhere: {id: {not: Total}}\nwhole: true",
        1,
    ),
    "a word in the place of true": Walk(
        always([{"id": 1, "ok": "Y"}]),
        "key: [id]\nwhole: true\ncolumns: {ok: bool}",
        "Declare ok: string or json",
        "key: [id]\nwhole: true\ncolumns: {ok: string}",
        1,
    ),
    "offsets that are multiples of the page size": Walk(
        by_multiples,
        "request: {params: {offset: '{offset}'}}\nrows: data\nkey: [id]\n"
        "paging: {kind: offset, limit: 3, total: total}",
        "`overlap: false` in `paging`",
        "request: {params: {offset: '{offset}'}}\nrows: data\nkey: [id]\n"
        "paging: {kind: offset, limit: 3, total: total, overlap: false}",
        8,
    ),
    "a search that gives a thousand rows": Walk(
        at_most_a_thousand, SEARCH, "`search_cap: 1000`", "+search_cap: 1000", 1_500
    ),
    "words beside no rows, with their value": Walk(
        always({"message": "all quiet today", "data": []}),
        "rows: data\nkey: [id]",
        '{at: message, values: ["all quiet today"]}',
        '+ok_when: {at: message, values: ["all quiet today"]}',
        0,
    ),
    "words beside no rows": Walk(
        always({"message": "all quiet today", "data": []}),
        "rows: data\nkey: [id]",
        "`ok_when`",
        "+ok_when: {at: message, values: [all quiet today]}",
        0,
    ),
    "accepted": Walk(
        always({"data": []}, 202),
        "rows: data\nkey: [id]",
        "`answers: {empty: [202]}`",
        "+answers: {empty: [202]}",
        0,
    ),
    "an object that is a list when empty": Walk(
        always([{"id": 1, "meta": []}, {"id": 2, "meta": {"a": 1}}]),
        "key: [id]",
        "Declare meta: json",
        "+columns: {meta: json}",
        2,
    ),
    "a text among numbers": Walk(
        always([{"id": 1, "code": "7a"}]),
        "key: [id]\ncolumns: {code: int64}",
        "Declare code: string",
        "key: [id]\ncolumns: {code: string}",
        1,
    ),
    "a fraction among whole numbers": Walk(
        always([{"id": 1, "n": 1.5}]),
        "key: [id]\ncolumns: {n: int64}",
        "Declare n: double",
        "key: [id]\ncolumns: {n: double}",
        1,
    ),
    "an object in a column of text": Walk(
        always([{"id": 1, "n": {"a": 1}}]),
        "key: [id]\ncolumns: {n: string}",
        "json",
        "key: [id]\ncolumns: {n: json}",
        1,
    ),
    "milliseconds": Walk(
        always([{"id": 1, "t": 1795132800123}]),
        "key: [id]\ncolumns: {t: 'timestamp[s]'}",
        "Declare t: timestamp[ms]",
        "key: [id]\ncolumns: {t: 'timestamp[ms]'}",
        1,
    ),
    "seconds as a text": Walk(
        always([{"id": 1, "t": "1795132800"}]),
        "key: [id]\ncolumns: {t: 'timestamp[iso]'}",
        "Declare t: timestamp[s]",
        "key: [id]\ncolumns: {t: 'timestamp[s]'}",
        1,
    ),
    "dates of .NET": Walk(
        always([{"id": 1, "t": "/Date(1795132800000)/"}]),
        "key: [id]\ncolumns: {t: 'timestamp[s]'}",
        "Declare t: timestamp[dotnet]",
        "key: [id]\ncolumns: {t: 'timestamp[dotnet]'}",
        1,
    ),
    "two forms of a time": Walk(
        always([{"id": 1, "t": "2026-11-04T00:00:00Z"}, {"id": 2, "t": "1795132800"}]),
        "key: [id]\ncolumns: {t: ['timestamp[iso]', 'timestamp[dotnet]']}",
        "[timestamp[iso], timestamp[dotnet], timestamp[s]]",
        "key: [id]\ncolumns: {t: ['timestamp[iso]', 'timestamp[dotnet]', 'timestamp[s]']}",
        2,
    ),
    "a number beyond 64 bits": Walk(
        always(b'[{"id": 1, "n": 98765432109876543210987}]'),
        "key: [id]",
        "n: string",
        "+columns: {n: string}",
        1,
    ),
    "a member called dt": Walk(
        always([{"id": 1, "dt": "x"}]),
        "key: [id]",
        "columns: {their_dt: {type: json, path: dt}}",
        "+columns: {their_dt: {type: json, path: dt}}",
        1,
    ),
    "a member called _extracted_at": Walk(
        always([{"id": 1, "_extracted_at": "x"}]),
        "key: [id]",
        "columns: {their_extracted_at: {type: json, path: _extracted_at}}",
        "+columns: {their_extracted_at: {type: json, path: _extracted_at}}",
        1,
    ),
    "a cursor that is null until a row changes": Walk(
        always(
            [
                {"id": 1, "updated_at": None, "created_at": "2026-11-05T01:00:00Z"},
                {
                    "id": 2,
                    "updated_at": "2026-11-05T02:00:00Z",
                    "created_at": "2026-11-05T00:00:00Z",
                },
            ]
        ),
        "request: {params: {since: '{start}', until: '{end}'}}\nkey: [id]\nwhole: true\n"
        "cursor: updated_at\ncolumns: {updated_at: 'timestamp[iso]', created_at: 'timestamp[iso]'}",
        "`cursor: [updated_at, created_at]`",
        "request: {params: {since: '{start}', until: '{end}'}}\nkey: [id]\nwhole: true\n"
        "cursor: [updated_at, created_at]\n"
        "columns: {updated_at: 'timestamp[iso]', created_at: 'timestamp[iso]'}",
        2,
        days=("2026-11-05",),
    ),
    "a key that lacks a column": Walk(
        always([{"id": 1, "country": "DE"}, {"id": 1, "country": "FR"}]),
        "key: [id]",
        "`country`: add it to `key`",
        "key: [id, country]",
        2,
    ),
    "no key at all": Walk(
        always([{"id": 1, "country": "DE"}, {"id": 1, "country": "FR"}]),
        "key: [id]",
        "`key: none`",
        "key: none",
        2,
    ),
    "versions of a row in pages by key": Walk(
        in_pages(VERSIONS),
        "request: {params: {offset: '{offset}', since: '{start}', until: '{end}'}}\n"
        "paging: {kind: offset, limit: 3, total: total}\nrows: data\nkey: [id]\n"
        "cursor: at\ncolumns: {at: 'timestamp[iso]'}",
        "`order: none` at the endpoint and `overlap: false` in `paging`, and the latest by `at` is",
        "request: {params: {offset: '{offset}', since: '{start}', until: '{end}'}}\n"
        "paging: {kind: offset, limit: 3, total: total, overlap: false}\nrows: data\nkey: [id]\n"
        "order: none\ncursor: at\ncolumns: {at: 'timestamp[iso]'}",
        3,
    ),
    "a key of pages that lacks a column": Walk(
        in_pages([{"id": n // 2, "country": "DEFR"[n % 2 * 2 :][:2]} for n in range(6)]),
        "request: {params: {offset: '{offset}'}}\npaging: {kind: offset, limit: 3, total: total}\n"
        "rows: data\nkey: [id]",
        "such as `country`: add it to `key`;",
        "request: {params: {offset: '{offset}'}}\npaging: {kind: offset, limit: 3, total: total}\n"
        "rows: data\nkey: [id, country]",
        6,
    ),
    "a key that no row has": Walk(
        always([{"no": 1}, {"no": 2}]), "key: [id]", "`key` names it", "key: [no]", 2
    ),
    "a bound that is included": Walk(
        by_key(IDS, inclusive=True),
        "request: {params: {after: '{after}'}}\npaging: {kind: keyset, limit: 3}\nkey: [id]",
        "`paging: {inclusive: true}`",
        "request: {params: {after: '{after}'}}\n"
        "paging: {kind: keyset, limit: 3, inclusive: true}\nkey: [id]",
        7,
    ),
    "the order of a language": Walk(
        in_pages([{"id": name} for name in ("a", "B", "c", "D", "e")]),
        "request: {params: {offset: '{offset}'}}\npaging: {kind: offset, limit: 3, total: total}\n"
        "rows: data\nkey: [id]",
        "`order: none`",
        "+order: none",
        5,
    ),
    "one row a page": Walk(
        in_pages(IDS, size=1),
        "request: {params: {offset: '{offset}'}}\npaging: {kind: offset, limit: 3}\n"
        "rows: data\nkey: [id]",
        "paging.overlap: false",
        "request: {params: {offset: '{offset}'}}\n"
        "paging: {kind: offset, limit: 3, overlap: false}\nrows: data\nkey: [id]",
        7,
    ),
    "no page behind the last": Walk(
        behind_the_last,
        "request: {params: {page: '{page}'}}\npaging: {kind: page, limit: 3}\nrows: data\n"
        "key: [id]",
        "name the count (paging.total)",
        "request: {params: {page: '{page}'}}\npaging: {kind: page, limit: 3, total: total}\n"
        "rows: data\nkey: [id]",
        6,
    ),
    "a total that is no total": Walk(
        always({"data": [{"id": 1}], "total": 900}),
        "rows: data\nkey: [id]",
        "`whole: true`",
        "+whole: true",
        1,
    ),
    "a page token that expires": Walk(
        expiring,
        f"request: {{params: {{token: '{{token}}'}}}}\n{TOKENS}",
        "`answers: {dead_page_token: [410]}`",
        "+answers: {dead_page_token: [410]}",
        8,
    ),
    "a token that means the end": Walk(
        minus_one_at_the_end,
        f"request: {{params: {{token: '{{token}}'}}}}\n{TOKENS}",
        "`more: {at: next, ended: -1}` in `paging`",
        "request: {params: {token: '{token}'}}\nrows: data\nkey: [id]\n"
        "paging: {kind: token, limit: 2, next: next, more: {at: next, ended: -1}}",
        6,
    ),
    "a token that comes alone": Walk(
        token_alone,
        f"request: {{params: {{token: '{{token}}', size: 2}}}}\n{TOKENS}",
        "`request: {with_token: [token]}`",
        f"request: {{params: {{token: '{{token}}', size: 2}}, with_token: [token]}}\n{TOKENS}",
        6,
    ),
    "a session": Walk(
        of_session,
        f"request: {{params: {{token: '{{token}}'}}}}\n{TOKENS}",
        "`cookies: true`",
        f"request: {{params: {{token: '{{token}}'}}}}\n{TOKENS}",
        6,
        source="cookies: false",
        source_mended="cookies: true",
    ),
    "a large body": Walk(
        always([{"id": n, "text": "x" * 500} for n in range(99)]),
        "key: [id]",
        "`limits.max_body_mb`",
        "key: [id]",
        99,
        source="limits: {max_body_mb: 0.01}",
        source_mended="limits: {max_body_mb: 1}",
    ),
    "more columns than a table has": Walk(
        always([{"id": 1, **{f"c{n}": n for n in range(2_001)}}]),
        "key: [id]\nwhole: true",
        "infer: false, to land only declared columns",
        "+columns: {id: int64}\ninfer: false",
        1,
    ),
    "a map with more members than a table has columns": Walk(
        always([{"id": 1, "counts": {f"c{n}": n for n in range(2_001)}}]),
        "key: [id]\nwhole: true",
        "objects that are really maps, to be declared as json",
        "+columns: {counts: json}",
        1,
    ),
    "too many requests by another status": Walk(
        in_turn(said({"message": "Rate limit exceeded"}, 403), 2),
        "key: [id]\nwhole: true",
        "`answers: {throttled_text: Rate limit exceeded}`",
        "+answers: {throttled_text: Rate limit exceeded}",
        1,
    ),
    "a quote inside of quotes": Walk(
        of_filter,
        "request: {params: {filter: \"name eq '{each}'\"}}\nkey: [id]\n"
        'each: {values: ["O\'Brien"]}',
        "`{each|odata}`",
        "request: {params: {filter: \"name eq '{each|odata}'\"}}\nkey: [id]\n"
        'each: {values: ["O\'Brien"]}',
        1,
    ),
    "more rows than may come": Walk(
        always(IDS), "key: [id]\nmax_rows: 5", "`max_rows`", "key: [id]\nmax_rows: 9", 7
    ),
    "deep nesting": Walk(
        always([{"id": 1, "deep": json.loads("[" * 120 + "]" * 120)}]),
        "key: [id]",
        "Declare deep: json",
        "+columns: {deep: json}",
        1,
    ),
    **{
        f"two names that become one, {member} renamed": Walk(
            always([{"id": 1, "userName": "a", "user_name": "b"}]),
            "key: [id]\nnames: snake_case",
            "columns: {user_name_2: {type: json, path: user",
            f"+columns: {{user_name_2: {{type: json, path: {member}}}}}",
            1,
        )
        for member in ("userName", "user_name")
    },
    "a column of where that no row has": Walk(
        always(IDS),
        "key: [id]\nwhere: {no: {gt: 2}}",
        "its name in `where`",
        "key: [id]\nwhere: {id: {gt: 2}}",
        5,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_the_line_that_a_refusal_names_brings_the_rows(
    name: str, new_lake: Callable[[], Lake]
) -> None:
    walk = WALKS[name]

    async def answer(request: Request) -> Response:
        return walk.respond(dict(request.query_params), dict(request.headers))

    def outcome(url: str, lines: str, more: str) -> tuple[int, str]:
        source = source_at(url, lines, more)
        done, _ = outcome_of(source, new_lake(), "things", walk.days, NOW)
        sentence = str(done.failed[0].error) if done.failed else ""
        return sum(receipt.manifest.rows for receipt in done.results), sentence

    mended = walk.mended.removeprefix("+")
    lines = f"{walk.yaml}\n{mended}" if walk.mended.startswith("+") else mended
    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        rows, sentence = outcome(url, walk.yaml, walk.source)
        assert rows == 0
        assert walk.remedy in sentence, sentence
        found = outcome(url, lines, walk.source_mended or walk.source)
        assert found == (walk.rows, ""), found
