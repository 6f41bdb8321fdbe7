"""The pages on writing a source are true: their YAML loads, and that of paging is run."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.paths import ROOT
from pipeline.config import Source, load_source
from pipeline.lake.s3 import Lake
from sourcetool.reference import reference
from tests.support.responses import json_answer
from tests.support.runs import check_rows, days_from, extract, landed, serving

pytestmark = pytest.mark.slow

HOW_TO = ROOT / "docs" / "how-to"
YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def blocks_of(page: str) -> list[str]:
    """The YAML of one page, in its order."""
    return YAML.findall((HOW_TO / page).read_text(encoding="utf-8"))


# The whole source, and the endpoints that an API of this file serves.
BLOCKS = [*blocks_of("new-source.md"), *blocks_of("paging.md"), *blocks_of("feeds.md")]
NOW = datetime(2026, 11, 4, tzinfo=UTC)
DAYS = days_from("2026-11-01", 3)
ORDERS: list[dict[str, Any]] = [
    {
        "id": i,
        "updated_at": (datetime(2026, 10, 31, tzinfo=UTC) + timedelta(seconds=300 * i))
        .isoformat()
        .replace("+00:00", "Z"),
        "customer": {"name": f"Zoë {i % 7}"},
        "lines": [{"sku": "a", "pieces": i % 5}],
    }
    for i in range(1, 1_100)
]


def text_of(blocks: list[str]) -> str:
    """The whole source, and the other endpoints below its own."""
    whole, *others = blocks
    below = "".join(
        f"  {line}\n" if line else "\n" for block in others for line in block.splitlines()
    )
    return whole.rstrip() + "\n" + below


def app() -> Starlette:
    """The API of the guide."""

    async def orders(request: Request) -> Response:
        params = request.query_params
        known = {
            "updated_from",
            "updated_to",
            "sort",
            "limit",
            "offset",
            "page",
            "token",
            "id_after",
        }
        if params.keys() - known or request.headers.get("authorization") != "Bearer t":
            return json_answer({"message": "no"}, 400)
        low, high = params.get("updated_from", ""), params.get("updated_to", "9")
        rows = [row for row in ORDERS if low <= row["updated_at"] < high]
        rows = [row for row in rows if row["id"] > int(params.get("id_after", "0"))]
        rows.sort(key=lambda row: row[params.get("sort", "id")])
        size = min(int(params["limit"]), 100)
        start = int(params.get("offset") or params.get("token") or 0)
        start = start or (int(params.get("page", "1")) - 1) * size
        more = start + size < len(rows)
        headers = {"x-total-count": str(len(rows))}
        if more and "page" in params:
            url = request.url.include_query_params(page=int(params["page"]) + 1)
            headers["link"] = f'<{url}>; rel="next"'
        meta = {"total": len(rows), "next_token": str(start + size) if more else None}
        return json_answer({"meta": meta, "data": rows[start : start + size]}, headers=headers)

    async def statuses(request: Request) -> Response:
        return json_answer({"data": [{"name": "new"}, {"name": "sent"}]})

    async def feed(request: Request) -> Response:
        headers = {"ETag": '"7"'}
        if request.headers.get("if-none-match") == '"7"':
            return Response(status_code=304, headers=headers)
        start = int(request.query_params.get("from", "0"))
        if start + 100 < len(ORDERS):
            url = request.url.include_query_params(**{"from": start + 100})
            headers["link"] = f'<{url}>; rel="next"'
        return json_answer({"data": ORDERS[::-1][start : start + 100]}, headers=headers)

    async def search(request: Request) -> Response:
        body = json.loads(await request.body())
        asked, page = body["filter"], body["page"]
        known = {"filter", "page", "size", "token", "updatedFrom", "updatedTo"}
        if (body.keys() | asked.keys() | page.keys()) - known:
            return json_answer({"message": "no"}, 400)
        low, high = asked.get("updatedFrom", ""), asked.get("updatedTo", "9")
        rows = [row for row in ORDERS if low <= row["updated_at"] < high]
        start, size = int(page.get("token", "0")), page["size"]
        token = str(start + size) if start + size < len(rows) else None
        return json_answer({"meta": {"next_token": token}, "data": rows[start : start + size]})

    routes = [Route("/orders/search", search, methods=["POST"])]
    routes += [Route("/orders", orders), Route("/statuses", statuses), Route("/feed", feed)]
    return Starlette(routes=routes)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    file: Path = tmp_path_factory.mktemp("guide") / "shop.yaml"
    file.write_text(text_of(BLOCKS), encoding="utf-8")
    with serving(app()) as url:
        yield load_source(file, {"SHOP_BASE_URL": url, "SHOP_TOKEN": "t"})


def test_the_guide_has_its_blocks() -> None:
    assert len(BLOCKS) == 10


@pytest.mark.parametrize(
    "endpoint",
    [
        "orders",
        *(f"orders_by_{how}" for how in ("key", "change", "token", "last_row")),
        *(f"orders_by_{how}" for how in ("link", "number", "search")),
        "orders_feed",
    ],
)
def test_every_block_reads_every_row(source: Source, lake: Lake, endpoint: str) -> None:
    manifests = extract(source, lake, endpoint, DAYS, NOW)
    wanted = landed(source, endpoint, ORDERS)
    for row, order in zip(wanted, ORDERS, strict=True):
        row["id"] = order["id"]
    found = [check_rows(source, lake, m, wanted) for m in manifests]
    assert sum(found) >= 1_090
    assert manifests[0].proof.pages > 4


def test_the_feed_that_has_not_changed(source: Source, lake: Lake) -> None:
    extract(source, lake, "orders_feed", ["2026-11-04"], datetime(2026, 11, 5, tzinfo=UTC))
    days = ["2026-11-05"]
    (quiet,) = extract(source, lake, "orders_feed", days, datetime(2026, 11, 6, tzinfo=UTC))
    assert (quiet.rows, quiet.proof.not_modified, quiet.requests) == (0, True, 1)


def test_the_snapshot(source: Source, lake: Lake) -> None:
    assert extract(source, lake, "statuses", ["2026-11-04"], NOW)[0].rows == 2


SETTINGS = {
    "SHOP_BASE_URL": "https://shop.test",
    "SHOP_TOKEN": "t",
    "SHOP_API_KEY": "k",
    "SHOP_CLIENT_ID": "i",
    "SHOP_CLIENT_SECRET": "s",
    "SHOP_USER": "u",
    "SHOP_PASSWORD": "p",
}
OTHERS = [
    (page.name, number, block)
    for page in sorted(HOW_TO.glob("*.md"))
    for number, block in enumerate(blocks_of(page.name))
    if not block.startswith("--8<--")  # a file of examples/, which has tests of its own
    and "type: assets.component." not in block  # a `defs.yaml`: tests/assets/test_component.py
]


@pytest.mark.parametrize(
    ("page", "number", "block"), OTHERS, ids=[f"{p}-{n}" for p, n, _ in OTHERS]
)
def test_every_yaml_loads(tmp_path: Path, page: str, number: int, block: str) -> None:
    """A block is a whole source, keys of a source, or endpoints of one."""
    source, found = yaml.safe_load(blocks_of("new-source.md")[0]), yaml.safe_load(block)
    if "source" in found:
        source = found
    elif found.keys() <= Source.model_fields.keys():
        source |= found
    else:
        source["endpoints"] = source["endpoints"] | {
            name: {"key": ["id"]} | endpoint for name, endpoint in found.items()
        }
    file = tmp_path / f"{source['source']}.yaml"
    file.write_text(yaml.safe_dump(source), encoding="utf-8")
    assert load_source(file, SETTINGS).endpoints, page


def test_every_family_is_on_its_page() -> None:
    page = (HOW_TO / "families.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "examples" / "families").glob("*.yaml"))
    assert files
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        assert f'--8<-- "{name}"' in page, name
        assert f"](../../{name})" in page, name


def test_the_reference_is_what_the_models_say() -> None:
    folder = ROOT / "docs" / "sources-reference"
    pages = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.md")}
    assert pages == reference(), "python -m sourcetool reference docs/sources-reference"
