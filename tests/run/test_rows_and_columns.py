"""Rows in odd forms, and what is kept of them, from an API's response to the lake."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.config import Source
from pipeline.errors import ConfigError, ContractBroken
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import sweep
from tests.support.responses import json_answer
from tests.support.runs import LIMITS, extract, outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
SALT = {"HEADRACE_HASH_SALT": "pepper-and-salt"}
Answer = Callable[[dict[str, str]], Response]


def api(answer: Answer) -> Starlette:
    async def respond(request: Request) -> Response:
        return answer(dict(request.query_params))

    return Starlette(routes=[Route("/{path:path}", respond)])


def source(url: str, endpoint: str, more: str = "") -> Source:
    """One endpoint, ``things``, from the lines of its YAML."""
    lines = "\n".join(f"    {line}" for line in endpoint.strip().splitlines())
    return source_of(
        f"source: api\nbase_url: {url}\nstart: 2026-11-01\nsafety_margin_s: 0\n"
        f"retries: {{errors: 1, first_wait_s: 0.001}}\n{more}\nendpoints:\n  things:\n{lines}\n",
        SALT,
    )


def landed(lake: Lake, manifest: Manifest, *names: str) -> list[tuple[Any, ...]]:
    if not manifest.files:
        return []
    rows = key_rows(lake, manifest.files, list(names)).to_pylist()
    return sorted(tuple(row[name] for name in names) for row in rows)


def orders(first: int, last: int) -> list[dict[str, Any]]:
    """Each with as many lines as its number divided by four leaves over: none to three."""
    return [
        {"no": n, "lines": [{"line": i, "sum": f"{n}.{i}0"} for i in range(n % 4)]}
        for n in range(first, last)
    ]


ORDERS = orders(1, 95)
LINES = sorted((order["no"], line["line"]) for order in ORDERS for line in order["lines"])
NESTED = """
rows: data.*.lines
key: [order, line]
columns:
  order: {type: int64, from: response.data.*.no}
  line: int64
  sum: "decimal(12, 2)"
"""


def pages_of_orders(given: dict[str, str]) -> Response:
    begin = int(given.get("offset") or given.get("token") or 0)
    begin = (int(given["page"]) - 1) * 10 if "page" in given else begin
    more = {"next": str(begin + 10)} if begin + 10 < len(ORDERS) else {}
    return json_answer({"data": ORDERS[begin : begin + 10], "total": len(ORDERS), **more})


@pytest.mark.parametrize(
    "paging",
    [
        "paging: {kind: token, next: next, limit: 10}\nrequest: {params: {token: '{token}'}}",
        "paging: {kind: page, limit: 10, total: total}\nrequest: {params: {page: '{page}'}}",
        "paging: {kind: offset, limit: 10, total: total, overlap: false}\n"
        "request: {params: {offset: '{offset}'}}",
    ],
)
def test_pages_of_nested_lists_are_counted_by_the_items_of_the_api(lake: Lake, paging: str) -> None:
    """Orders without lines make pages short, and three lines an order make them long."""
    with serving(api(pages_of_orders)) as url:
        (manifest,) = extract(source(url, NESTED + paging), lake, "things", DAY, NOW)
    assert landed(lake, manifest, "order", "line") == LINES
    assert manifest.proof.pages >= 10
    sums = {str(total) for (total,) in landed(lake, manifest, "sum")}
    assert {"5.00", "6.10"} <= sums


def test_a_row_too_few_shows_in_the_count_of_items(lake: Lake) -> None:
    """An order that is missing is missed, though there are more lines than orders."""

    def answer(given: dict[str, str]) -> Response:
        page = int(given["page"])
        some = ORDERS[(page - 1) * 10 : page * 10]
        some = [order for order in some if order["no"] != 41]
        return json_answer({"data": some, "total": len(ORDERS)})

    paging = "paging: {kind: page, limit: 10, total: total}\nrequest: {params: {page: '{page}'}}"
    with serving(api(answer)) as url:
        outcome, _ = outcome_of(source(url, NESTED + paging), lake, "things", DAY, NOW)
    assert not outcome.results[0].manifest.proof.contiguous


@pytest.mark.parametrize("form", ["list", "map", "columns"])
@pytest.mark.parametrize(
    "paging",
    [
        "paging: {kind: offset, limit: 10}\n"
        "request: {params: {offset: '{offset}', limit: '{limit}', after: '{after}'}}",
        "paging: {kind: keyset, limit: 10}\nrequest: {params: {after: '{after}', limit: 10}}",
        "paging: {kind: link, next: link, limit: 10}\nrequest: {params: {limit: 10}}",
    ],
)
def test_proofs_hold_for_every_form(lake: Lake, form: str, paging: str) -> None:
    ids = list(range(1, 88))

    def answer(given: dict[str, str]) -> Response:
        after = int(given.get("after") or 0)
        begin = int(given.get("offset") or int(given.get("cursor") or 0) // 7)
        there = [n for n in ids if n > after]
        some = there[begin : begin + int(given["limit"])]
        rows = [{"id": n, "name": f"n{n}"} for n in some]
        data: Any = rows
        if form == "map":
            data = {str(row["id"]): row for row in rows}
        if form == "columns":
            data = {"id": some, "name": [row["name"] for row in rows]}
        link = f"/things?limit=10&cursor={7 * (begin + 10)}" if begin + 10 < len(there) else None
        return json_answer({"data": data, "link": link})

    yaml = f"rows: data\nas: {form}\nkey: [id]\ncolumns: {{id: int64}}\n{paging}"
    with serving(api(answer)) as url:
        (manifest,) = extract(source(url, yaml), lake, "things", DAY, NOW)
    assert landed(lake, manifest, "id", "name") == [(n, f"n{n}") for n in ids]


PEOPLE: list[dict[str, Any]] = [
    {"id": n, "mail": f"p{n}@example.org", "kind": "file" if n % 3 else "folder", "_links": n}
    for n in range(1, 41)
]


def people(given: dict[str, str]) -> Response:
    begin = int(given.get("token") or 0)
    more = {"next": str(begin + 10)} if begin + 10 < len(PEOPLE) else {}
    body = {"data": PEOPLE[begin : begin + 10], "total": 40, "meta": {"date": "2026-10-31"}}
    response = json_answer({**body, **more})
    response.headers["X-Region"] = "eu-west"
    return response


KEPT = """
rows: data
key: [id]
paging: {kind: token, next: next, limit: 10, total: total}
request: {params: {token: "{token}"}}
where: {kind: file, id: {gt: 2, lte: 39}}
exclude: [_links]
hash: {mail: sha256}
columns:
  id: int64
  mail: string
  region: {type: string, value: eu}
  as_of: {type: date, from: response.meta.date}
  zone: {type: string, from: headers.X-Region}
  until: {type: "timestamp[iso]", from: window.end}
  day: {type: date, from: now}
  opens: {type: time, value: "08:30"}
  seal: {type: binary, value: aGk=}
"""
SALTED = "hash_salt: ${HEADRACE_HASH_SALT}"


def test_what_is_kept_of_rows(lake: Lake) -> None:
    with serving(api(people)) as url:
        outcome, _ = outcome_of(source(url, KEPT, SALTED), lake, "things", DAY, NOW)
    (result,) = outcome.results
    manifest, wanted = result.manifest, [r for r in PEOPLE if r["id"] % 3 and 2 < r["id"] <= 39]
    assert manifest.proof.contiguous, "the API's total holds for all rows that came"
    assert manifest.rows == len(wanted)
    assert manifest.notes.filtered_rows == 40 - len(wanted)
    digest = {
        row["id"]: hashlib.sha256(f"pepper-and-salt{row['mail']}".encode()).hexdigest()
        for row in wanted
    }
    assert landed(lake, manifest, "id", "mail") == sorted(digest.items())
    assert landed(lake, manifest, "region", "as_of", "zone", "until")[0] == (
        "eu",
        datetime(2026, 10, 31, tzinfo=UTC).date(),
        "eu-west",
        NOW,
    )
    names = [column["name"] for column in manifest.columns]
    assert "_links" not in names
    assert names[-8:-1] == ["region", "as_of", "zone", "until", "day", "opens", "seal"]
    assert "example.org" not in str(result.preview)
    assert {row["mail"] for row in result.preview} <= {*digest.values()}


def test_rows_filtered_out_are_counted_once_over_a_restart(lake: Lake) -> None:
    """The second attempt resumes behind what the first has staged."""
    asked: list[str] = []

    def answer(given: dict[str, str]) -> Response:
        asked.append(given.get("token", ""))
        if asked.count("20") == 1 and given.get("token") == "20":
            return json_answer({"message": "no"}, 403)
        return people(given)

    with serving(api(answer)) as url:
        of = source(url, KEPT + "batch_rows: 1", SALTED)
        first, _ = outcome_of(of, lake, "things", DAY, NOW, "one")
        second, _ = outcome_of(of, lake, "things", DAY, NOW, "one")
    assert first.failed
    assert asked.count("0") == 0
    assert asked.count("") == 1, "the first page came once"
    manifest = second.results[0].manifest
    assert (manifest.rows, manifest.notes.filtered_rows) == (24, 16)


ABOUT = "columns: {about: json}\n"


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("about.state.tags: {not: null}", [1, 2, 3]),
        ("about.state.tags: {not: {in: [null, []]}}", [1, 2]),
        ("about.state.name: a", [1]),
        ("about: null", [5]),
        ("about: text", [4]),
    ],
)
def test_where_looks_into_columns_of_json(lake: Lake, condition: str, matches: list[int]) -> None:
    rows = [
        {"id": 1, "about": {"state": {"tags": [{"n": 1}], "name": "a"}}},
        {"id": 2, "about": {"state": {"tags": ["x"], "name": "b"}}},
        {"id": 3, "about": {"state": {"tags": []}}},
        {"id": 4, "about": "text"},
        {"id": 5, "about": None},
    ]
    spec = f"key: [id]\nwhere: {{{condition}}}\n{ABOUT}"
    with serving(api(lambda given: json_answer(rows))) as url:
        (manifest,) = extract(source(url, spec), lake, "things", DAY, NOW)
    assert landed(lake, manifest, "id") == [(n,) for n in matches]


def test_a_member_is_left_out_of_a_column_of_json_that_another_column_has(lake: Lake) -> None:
    rows = [{"id": 1, "about": {"mail": "a@b.example", "name": "a"}}]
    spec = """
key: [id]
exclude: [about.mail]
columns: {about: json, mail: {type: string, path: about.mail}}
"""
    with serving(api(lambda given: json_answer(rows))) as url:
        (manifest,) = extract(source(url, spec), lake, "things", DAY, NOW)
    assert landed(lake, manifest, "mail", "about") == [("a@b.example", '{"name":"a"}')]


def test_a_misspelt_name_in_where_loses_no_row_in_silence(lake: Lake) -> None:
    with serving(api(people)) as url:
        yaml = KEPT.replace("kind: file", "knd: file")
        outcome, _ = outcome_of(source(url, yaml, SALTED), lake, "things", DAY, NOW)
    assert "`where` looks at `knd`, and none of the 10 rows of a page has it" in str(
        outcome.failed[0].error
    )


def test_a_hashed_key_is_the_same_for_a_sweep(lake: Lake) -> None:
    yaml = """
rows: data
key: [mail]
sweep: true
paging: {kind: token, next: next, limit: 10, total: total}
request: {params: {token: "{token}"}}
hash: {mail: sha256}
columns: {mail: string}
"""
    gone: set[int] = set()

    def answer(given: dict[str, str]) -> Response:
        rows = [row for row in PEOPLE if row["id"] not in gone]
        return json_answer({"data": rows, "total": len(rows)})

    async def swept(of: Source) -> int:
        budget = ratelimit.open_budget(of.source, LIMITS, "memory")
        async with open_client(of, budget) as client:
            later = datetime.now(UTC)
            run = RunContext(of, lake, client, "sweep", lambda: later)
            return (await sweep(run, "things", ExtractionProgress())).keys_gone

    with serving(api(answer)) as url:
        of = source(url, yaml, SALTED)
        extract(of, lake, "things", DAY, NOW)
        assert asyncio.run(swept(of)) == 0
        gone.add(7)
        assert asyncio.run(swept(of)) == 1


def test_a_column_in_the_key_from_around_the_rows(lake: Lake) -> None:
    """A report says nothing of its day: it is the end of the window, or a constant."""

    def answer(given: dict[str, str]) -> Response:
        return json_answer([{"campaign": 1, "clicks": 3}, {"campaign": 2, "clicks": 4}])

    yaml = """
key: [region, day, campaign]
columns:
  region: {type: string, value: eu}
  day: {type: date, from: window.end}
  campaign: int64
"""
    with serving(api(answer)) as url:
        (manifest,) = extract(source(url, yaml), lake, "things", DAY, NOW)
    day = NOW.date()
    rows = landed(lake, manifest, "region", "day", "campaign")
    assert rows == [("eu", day, 1), ("eu", day, 2)]


def test_a_value_that_does_not_fit_its_column_is_refused(lake: Lake) -> None:
    yaml = "key: [id]\nrows: data\ncolumns: {n: {type: int64, from: headers.X-Region}}"
    with serving(api(people)) as url:
        outcome, _ = outcome_of(source(url, yaml), lake, "things", DAY, NOW)
    error = outcome.failed[0].error
    assert isinstance(error, ContractBroken)
    assert '`n` gets `headers.X-Region` = "eu-west", and is declared int64' in str(error)


@pytest.mark.parametrize(
    ("yaml", "more", "sentence"),
    [
        ("key: [id]\nhash: {mail: sha256}\ncolumns: {mail: string}", "", "set `hash_salt: "),
        ("key: [id]\nhash: {mial: sha256}", SALTED, "`mial`, which is not declared"),
        ("key: [id]\nhash: {n: sha256}\ncolumns: {n: int64}", SALTED, "declared as `int64`"),
        (
            "key: [m]\nhash: {m: sha256}\ncolumns: {m: string}\n"
            "paging: {kind: keyset, limit: 5}\nrequest: {params: {a: '{after}'}}",
            SALTED,
            "the key `m` would stand in checkpoints",
        ),
        (
            "key: [id]\nhash: {m: sha256}\ncolumns: {m: string}\ncache: low",
            SALTED,
            "`cache` stores responses as they came",
        ),
        (
            "key: [id]\nhash: {m: sha256}\ncolumns: {m: string}\nwhere: {m: x}",
            SALTED,
            "`where` compares `m`, which is hashed",
        ),
        ("key: [id]\nexclude: [id]", "", "`exclude` has `id`"),
        ("key: [id]\ncolumns: {a: {type: int64, value: x}}", "", "`value: x` does not fit"),
        (
            "key: [id]\ncolumns: {a: {type: int64, value: 1, path: b}}",
            "",
            "from one place, and this one has path and value",
        ),
        ("key: [id]\ncolumns: {a: {type: int64, from: window.end}}", "", "is a time, and"),
        ("key: [id]\ncolumns: {a: {type: int64, from: foo.bar}}", "", "columns.a.from"),
        (
            "key: [id]\nrows: a.*.b\ncolumns: {a: {type: int64, from: response.x.*.id}}",
            "",
            "write the path as in `rows` up to the",
        ),
        ("key: [id, day]\ncolumns: {day: {type: date, from: window.start}}", "", "use window.end"),
        ("key: [id]\nkey_column: id", "", "say `as: map`"),
        ("key: [id]\nnames_at: x", "", "`names_at` is about `as: columns`"),
        ("key: [id]\nvalue_column: x", "", "`value_column` is about"),
        ("key: [id]\nrows: 'jmespath: a['", "", "no JMESPath expression"),
        (
            "key: [id]\nrows: a.*.b\npaging: {kind: offset, limit: 5}\n"
            "request: {params: {o: '{offset}'}}",
            "",
            "use `overlap: false`",
        ),
        ("key: [d]\ncolumns: {d: 'decimal(5, 2)'}", "", "declare `d: string`"),
        ("key: [id]\nwhere: {a: [1]}", "", "in: "),
        ("key: [id]\nas: mapp", "", "'object_or_list', 'map', 'columns'"),
    ],
)
def test_a_yaml_that_fits_not_is_refused_with_the_way_out(
    yaml: str, more: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        source("http://localhost", yaml, more)
    assert sentence in str(caught.value)
