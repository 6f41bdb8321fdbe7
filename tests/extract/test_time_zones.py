"""APIs whose times have no offset, and are those of a zone: over a socket, into S3."""

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import load_source
from pipeline.errors import ConfigError
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.s3 import Lake
from tests.extract.test_short_pages import Shop
from tests.support.runs import Row, outcome_of, serving

pytestmark = pytest.mark.slow

NAIVE = "%Y-%m-%dT%H:%M:%S"
Params = dict[str, str]


class LocalShop:
    """Rows every 15 minutes, stamped and compared by the wall clock of its zone."""

    def __init__(self, zone: str, first: datetime, hours: int, *, stamp: str = NAIVE) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self._instants = [first + timedelta(minutes=15 * n) for n in range(4 * hours)]
        self._zone, self._stamp = ZoneInfo(zone), stamp

    def answer(self, params: Params, number: int) -> list[Row]:
        wall = [at.astimezone(self._zone) for at in self._instants if at < self.now]
        low, high = params.get("since", ""), params.get("until", "9")
        found = [
            {"id": n, "at": at.strftime(self._stamp)}
            for n, at in enumerate(wall)
            if low <= at.strftime(NAIVE) < high
        ]
        offset, limit = int(params["offset"]), int(params["limit"])
        return found[offset : offset + limit]

    @property
    def ids(self) -> set[int]:
        return set(range(len(self._instants)))


def orders(zone: str | None, form: str = NAIVE, kind: str = "timestamp[iso]") -> str:
    said = f", timezone: {zone}" if zone else ""
    return f"""
  orders:
    request:
      params: {{since: "{{start}}", until: "{{end}}", offset: "{{offset}}", limit: "{{limit}}"}}
    window: {{format: "{form}"{said}}}
    paging: {{kind: offset, limit: 50}}
    key: [id]
    cursor: at
    columns: {{id: int64, at: "{kind}"}}
"""


def manifests_of(lake: Lake, source: Any, days: list[str], now: datetime) -> list[Manifest]:
    outcome, _ = outcome_of(source, lake, "orders", days, now)
    if outcome.failed:
        raise outcome.failed[0].error
    return [receipt.manifest for receipt in outcome.results]


def rows_of(lake: Lake, manifests: list[Manifest]) -> dict[int, datetime]:
    rows: dict[int, datetime] = {}
    for manifest in filter(lambda m: m.files, manifests):
        table = key_rows(lake, manifest.files, ["id", "at"])
        rows |= dict(zip(table["id"].to_pylist(), table["at"].to_pylist(), strict=True))
    return rows


ZONES = [
    ("America/Chicago", datetime(2026, 10, 31, tzinfo=UTC)),  # clocks go back on 1 November
    ("America/Chicago", datetime(2026, 3, 7, tzinfo=UTC)),  # and forward on 8 March
    ("Europe/Berlin", datetime(2026, 10, 24, tzinfo=UTC)),
    ("Atlantic/Azores", datetime(2026, 10, 24, tzinfo=UTC)),  # the doubled hour holds midnight UTC
    ("Asia/Kolkata", datetime(2026, 10, 24, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, tzinfo=UTC)),  # a midnight that is not
    ("America/Havana", datetime(2026, 10, 31, tzinfo=UTC)),  # a midnight that is twice
]


@pytest.mark.parametrize(("zone", "first"), ZONES)
@pytest.mark.parametrize("kind", ["timestamp[iso]", f"timestamp[{NAIVE}]"])
def test_no_row_of_a_local_api_is_lost(
    lake: Lake, tmp_path: Path, zone: str, first: datetime, kind: str
) -> None:
    shop = LocalShop(zone, first, 72)
    days = [(first + timedelta(days=n)).date().isoformat() for n in range(4)]
    with Shop(shop.answer).source(tmp_path, orders(zone, kind=kind)) as source:
        moved = source.model_copy(update={"start": first.date()})
        manifests = manifests_of(lake, moved, days, first + timedelta(days=6))
    rows = rows_of(lake, manifests)
    assert rows.keys() == shop.ids
    # An hour that came twice is read as of its first time; all others as they were.
    wrong = {n: at for n, at in rows.items() if at != first + timedelta(minutes=15 * n)}
    assert all(first + timedelta(minutes=15 * n - 60) == at for n, at in wrong.items())
    assert len(wrong) <= 4
    assert not any(manifest.notes.warning for manifest in manifests)


BY_TIME = {
    "token": "paging: {kind: token, limit: 50, last: at}\n    key: [id]",
    "keyset": "paging: {kind: keyset, limit: 50}\n    key: [at]",
}


@pytest.mark.parametrize("paging", BY_TIME)
@pytest.mark.parametrize("zone", ["America/Chicago", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize("kind", ["timestamp[iso]", f"timestamp[{NAIVE}]"])
@pytest.mark.parametrize("offset", ["", "%z"])
def test_a_time_by_which_pages_follow_is_sent_as_the_rows_have_it(
    lake: Lake, tmp_path: Path, paging: str, zone: str, kind: str, offset: str
) -> None:
    """Written in UTC, the next page would begin hours behind the last row, or before it."""
    first = datetime(2026, 3, 1, tzinfo=UTC)
    there = ZoneInfo(zone)
    rows: list[Row] = [
        {"id": n, "at": (first + timedelta(minutes=15 * n)).astimezone(there).strftime(NAIVE)}
        for n in range(200)
    ]

    def answer(params: Params, number: int) -> list[Row]:
        def read(text: str) -> datetime:
            at = datetime.fromisoformat(text)
            return at if at.tzinfo else at.replace(tzinfo=there)

        after = params.get("after", "1970-01-01T00:00:00")
        after = read(after).astimezone(there).strftime(NAIVE) if offset else after
        low = max(after, params.get("since", ""))
        found = [row for row in rows if low < row["at"] < params["until"]]
        return [
            row | {"at": read(row["at"]).astimezone(there).strftime(NAIVE + offset)}
            for row in found[: int(params["limit"])]
        ]

    kind = kind.replace("]", f"{offset}]") if "%" in kind else kind
    place = "after" if paging == "keyset" else "token"
    text = orders(zone, kind=kind).replace('offset: "{offset}"', f'after: "{{{place}}}"')
    text = text.replace("paging: {kind: offset, limit: 50}\n    key: [id]", BY_TIME[paging])
    shop = Shop(answer)
    with shop.source(tmp_path, text) as source:
        (manifest,) = manifests_of(lake, source, ["2026-03-01"], first + timedelta(days=6))
    assert len(rows_of(lake, [manifest])) == 96
    sent = [params["after"] for params in shop.asked if "after" in params]
    assert len({*sent}) <= 3
    if not offset:
        assert {text.removesuffix("Z") for text in sent} <= {row["at"] for row in rows}


def test_rows_of_the_second_time_come_after_a_watermark_within_it(
    lake: Lake, tmp_path: Path
) -> None:
    first = datetime(2026, 11, 1, tzinfo=UTC)
    shop = LocalShop("America/Chicago", first, 24)
    with Shop(shop.answer).source(tmp_path, orders("America/Chicago")) as source:
        moved = source.model_copy(update={"start": first.date()})
        shop.now = datetime(2026, 11, 1, 7, 10, tzinfo=UTC)  # 01:10 for the second time
        early = manifests_of(lake, moved, ["2026-11-01"], shop.now)
        shop.now = datetime(2026, 11, 3, tzinfo=UTC)
        later = manifests_of(lake, moved, ["2026-11-02"], shop.now)
    assert early[0].watermark == "2026-11-01T07:10:00Z"
    assert rows_of(lake, early + later).keys() == shop.ids


def test_times_without_a_zone_are_said(lake: Lake, tmp_path: Path) -> None:
    first = datetime(2026, 3, 1, tzinfo=UTC)
    shop = LocalShop("UTC", first, 24)
    with Shop(shop.answer).source(tmp_path, orders(None)) as source:
        (manifest,) = manifests_of(lake, source, ["2026-03-01"], first + timedelta(days=2))
    assert "the times of at have no time zone, and are read as UTC" in manifest.notes.warning
    (failed,) = (check for check in manifest.checks if not check["passed"])
    assert failed["name"] == "cursor_has_a_zone"
    with Shop(shop.answer).source(tmp_path, orders("UTC")) as source:
        (manifest,) = manifests_of(lake, source, ["2026-03-01"], first + timedelta(days=2))
    assert manifest.notes.warning == ""


def test_a_bound_that_the_api_reads_in_another_zone_is_said(lake: Lake, tmp_path: Path) -> None:
    first = datetime(2026, 3, 1, tzinfo=UTC)
    # Rows say their offset; what the filter gets has none, and is read by the shop's clock.
    shop = LocalShop("America/Chicago", first, 72, stamp=f"{NAIVE}%z")

    def answer(params: Params, number: int) -> list[Row]:
        few = shop.answer(params | {"offset": "0", "limit": "500"}, number)
        few = [row for row in few if row["id"] < 96 or row["id"] % 8 == 0]
        offset, limit = int(params["offset"]), int(params["limit"])
        return few[offset : offset + limit]

    text = orders(None, kind=f"timestamp[{NAIVE}%z]").replace(
        "limit: 50", "limit: 200, overlap: false"
    )
    with Shop(answer).source(tmp_path, text) as source:
        (manifest,) = manifests_of(lake, source, ["2026-03-01"], first + timedelta(days=9))
    assert "to read the bound in another time zone" in manifest.notes.warning


def test_days_of_a_zone(lake: Lake, tmp_path: Path) -> None:
    """Rows of a whole day in the API's zone; the source's days are the same ones."""
    days = [f"2026-11-0{n}" for n in range(1, 6)]

    def answer(params: Params, number: int) -> list[Row]:
        low, high = params.get("since", ""), params["until"]
        found = [{"id": n, "at": day} for n, day in enumerate(days) if low <= day <= high]
        return found[int(params["offset"]) :]

    text = orders("America/Los_Angeles", "%Y-%m-%d", "date").replace(
        "timezone:", "end: inclusive, resolution_s: 86400, timezone:"
    )
    shop = Shop(answer)
    with shop.source(tmp_path, text) as source:
        update = {"start": date(2026, 11, 1), "timezone": "America/Los_Angeles"}
        moved = source.model_copy(update=update)
        manifests = manifests_of(lake, moved, days, datetime(2026, 11, 9, tzinfo=UTC))
    assert [[*rows_of(lake, [m])] for m in manifests] == [[0], [1], [2], [3], [4]]
    asked = {(params.get("since"), params["until"]) for params in shop.asked}
    assert asked == {(None if day == days[0] else day, day) for day in days}


def test_whole_days_of_no_zone_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    text = orders(None, "%Y-%m-%d", "date").replace(
        'format: "%Y-%m-%d"', 'format: "%Y-%m-%d", resolution_s: 86400'
    )
    head = "source: shop\nbase_url: http://x\nstart: 2026-11-01\ntimezone: Europe/Berlin\n"
    file.write_text(f"{head}endpoints:{text}")
    with pytest.raises(ConfigError, match=r"window: \{timezone: Europe/Berlin\}"):
        load_source(file, {})


def test_the_watermark_is_not_later_than_the_clock_of_the_api(
    lake: Lake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The window ends with this machine's clock; what the API stamps later, by its own, is after
    the watermark."""
    first = datetime(2026, 3, 1, tzinfo=UTC)
    shop = LocalShop("UTC", first, 24)
    behind = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)

    async def answer(request: Request) -> Response:
        sent = {"date": behind.strftime("%a, %d %b %Y %T GMT")}
        return JSONResponse(shop.answer({**request.query_params}, 0), headers=sent)

    now = datetime.now(UTC)
    app = Starlette(routes=[Route("/orders", answer)])
    with serving(app, date_header=False) as url, caplog.at_level(logging.WARNING):
        file = tmp_path / "shop.yaml"
        file.write_text(
            f"source: shop\nbase_url: {url}\nstart: {now.date()}\nendpoints:{orders('UTC')}"
        )
        (manifest,) = manifests_of(lake, load_source(file, {}), [f"{now.date()}"], now)
    assert manifest.watermark_at == min(behind, now)
    assert len([r for r in caplog.records if "the API's clock (Date) is" in r.message]) == 1
