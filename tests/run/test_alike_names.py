"""Members and keys that differ by Unicode's forms, by case or by spaces alone are different."""

import json
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, tzinfo=UTC)
NFC, NFD = "n\u00e4me", "na\u0308me"
ALIKE = [NFC, NFD, "a", "A", "a ", " a", "a\u00a0", "ss", "\u00df", "\u212a", "K", "k"]


@pytest.mark.parametrize("paging", ["none", "page"])
def test_keys_that_look_alike_are_rows_of_their_own(lake: Lake, paging: str) -> None:
    rows = [{"name": name, "n": n} for n, name in enumerate(ALIKE)]

    async def things(request: Request) -> Response:
        start = (int(request.query_params.get("page", 1)) - 1) * 5
        part = rows[start : start + 5] if "page" in request.query_params else rows
        return json_answer({"data": part, "total": len(rows)})

    params = 'request: {params: {page: "{page}"}}' if paging == "page" else "whole: true"
    kind = "{kind: page, limit: 5, total: total}" if paging == "page" else "{kind: none}"
    with serving(Starlette(routes=[Route("/things", things)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-04
            endpoints:
              things: {{key: [name], rows: data, paging: {kind}, {params}}}
            """
        )
        (manifest,) = extract(source, lake, "things", ["2026-11-04"], NOW)
    assert sorted(key_rows(lake, manifest.files, ["name"])["name"].to_pylist()) == sorted(ALIKE)


@pytest.mark.parametrize("member", [NFD, "N\u00c4ME", "n\u00e4me ", "N\u00e4_me"])
def test_a_key_of_another_spelling_is_named_with_the_path_that_reads_it(
    lake: Lake, member: str
) -> None:
    async def things(request: Request) -> Response:
        return json_answer([{member: 1, "x": 1}, {member: 2, "x": 2}])

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        start = f"source: api\nbase_url: {url}\nstart: 2026-11-04\n"
        start += "retries: {errors: 0}\nendpoints:\n  things:\n    whole: true\n"
        key = f"    key: [{NFC}]\n"
        declared = source_of(f"{start}{key}    columns: {{{NFC}: int64}}\n")
        done, _ = outcome_of(declared, lake, "things", ["2026-11-04"], NOW)
        said = str(done.failed[0].error)
        assert f"the rows have {json.dumps(member)}, of another spelling. Set columns: " in said
        remedy = said.partition("Set columns: ")[2]
        (manifest,) = extract(
            source_of(f"{start}{key}    columns: {remedy}\n"), lake, "things", ["2026-11-04"], NOW
        )
    assert sorted(key_rows(lake, manifest.files, [NFC])[NFC].to_pylist()) == [1, 2]


def test_members_that_look_alike_are_columns_of_their_own(lake: Lake) -> None:
    async def things(request: Request) -> Response:
        return json_answer([{"id": 1, NFC: "c", NFD: "d", "x": "1", "x ": "2"}])

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-04
            endpoints:
              things: {{key: [id], whole: true}}
            """
        )
        (manifest,) = extract(source, lake, "things", ["2026-11-04"], NOW)
    columns = [NFC, NFD, "x", "x "]
    (row,) = key_rows(lake, manifest.files, columns).to_pylist()
    assert row == {NFC: "c", NFD: "d", "x": "1", "x ": "2"}
