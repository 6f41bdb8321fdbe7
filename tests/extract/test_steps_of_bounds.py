"""Windows that are cut at the steps in which bounds are written, by the clock of their zone: over a
socket, into S3."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from starlette.responses import JSONResponse, Response

from pipeline.errors import ContractBroken
from pipeline.lake.s3 import Lake
from tests.extract.test_short_pages import Shop
from tests.extract.test_time_zones import Params, manifests_of, rows_of
from tests.support.runs import Row

pytestmark = pytest.mark.slow

ZONES = ["UTC", "America/Chicago", "Europe/Berlin", "Asia/Kolkata"]
START = date(2026, 10, 24)
"""Before the clocks of Berlin and of Chicago are set back."""
NOW = datetime(2026, 11, 4, 17, 8, 22, tzinfo=UTC)
FORMS = {
    "%Y-%m-%d": timedelta(days=1),
    "%Y-%m-%dT%H:00": timedelta(hours=1),
    "%Y-%m-%dT%H:%M": timedelta(minutes=1),
}


class Bounded:
    """Rows every 25 minutes, stamped in UTC, that are filtered by bounds of a zone's clock.

    ``longest``: longer windows are refused. ``cap``: so many rows come of a page at most.
    ``search_cap``: so many rows come of a search at most, and its total is counted.
    """

    def __init__(
        self,
        zone: str,
        form: str,
        *,
        longest: timedelta | None = None,
        cap: int = 10_000,
        search_cap: int | None = None,
    ) -> None:
        first = datetime(START.year, START.month, START.day, 12, tzinfo=UTC)
        self.rows = {n: first + timedelta(minutes=25 * n) for n in range(630)}
        self._zone, self._form = ZoneInfo(zone), form
        self._longest, self._cap, self._search_cap = longest, cap, search_cap

    def answer(self, params: Params, number: int) -> list[Row] | Response:
        low, high = params["since"], params["until"]
        since, until = (datetime.strptime(text, self._form) for text in (low, high))  # noqa: DTZ007
        length = until - since
        if self._longest is not None and length > self._longest:
            return JSONResponse({"error": f"a window of {length} is too long"}, 400)
        at = {n: at.astimezone(self._zone).strftime(self._form) for n, at in self.rows.items()}
        found = [n for n in self.rows if low <= at[n] < high]
        first, limit = int(params.get("offset", "0")), int(params.get("limit", "10000"))
        rows: list[Row] = [
            {"id": n, "at": self.rows[n].strftime("%Y-%m-%dT%H:%M:%SZ")}
            for n in found[first : first + min(limit, self._cap)]
        ]
        if self._search_cap is None:
            return rows
        if first + limit > self._search_cap:
            return JSONResponse({"error": "too far"}, 422)
        return JSONResponse({"rows": rows, "total": len(found)})


def orders(form: str, zone: str, params: str, *lines: str, window: str = "") -> str:
    step = int(FORMS[form].total_seconds())
    head = [
        f'request: {{params: {{since: "{{start}}", until: "{{end}}"{params}}}}}',
        f'window: {{format: "{form}", resolution_s: {step}, timezone: {zone}, '
        f'floor: "{START}"{window}}}',
        "key: [id]",
        "cursor: at",
        'columns: {id: int64, at: "timestamp[iso]"}',
    ]
    return "\n".join(["  orders:", *(f"    {line}" for line in [*head, *lines])])


def days_until(end: date) -> list[str]:
    return [f"{START + timedelta(days=n)}" for n in range((end - START).days)]


def check(
    lake: Lake, folder: Path, api: Bounded, text: str, zone: str, start: date, day: date
) -> None:
    """Each row up to the end of one day comes, in a partition that is proved."""
    shop: Callable[[Params, int], list[Row] | Response] = api.answer
    with Shop(shop).source(folder, text) as source:
        moved = source.model_copy(update={"start": start, "timezone": zone})
        (manifest,) = manifests_of(lake, moved, [f"{day}"], NOW)
    end = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)) + timedelta(days=1)
    begins = manifest.window.start or datetime(1970, 1, 1, tzinfo=UTC)
    truth = {n for n, at in api.rows.items() if begins <= at < min(end, NOW)}
    assert len(truth) > 50
    assert rows_of(lake, [manifest]).keys() == truth
    assert manifest.proof.contiguous


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("form", "longest"),
    [
        ("%Y-%m-%d", timedelta(days=2)),
        ("%Y-%m-%dT%H:00", timedelta(hours=30)),
        ("%Y-%m-%dT%H:%M", timedelta(hours=20)),
    ],
)
def test_no_part_of_a_window_is_longer_once_its_bounds_are_written(
    lake: Lake, tmp_path: Path, zone: str, form: str, longest: timedelta
) -> None:
    """An API that refuses longer windows, and the baseline of a source, which ends at this hour."""
    api = Bounded(zone, form, longest=longest, search_cap=10_000)
    text = orders(
        form,
        zone,
        ', offset: "{offset}", limit: "{limit}"',
        "paging: {kind: offset, limit: 40, total: total, overlap: false}",
        "rows: rows",
        window=f", max_s: {int(longest.total_seconds())}",
    )
    check(lake, tmp_path, api, text, zone, NOW.date(), NOW.date())


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%dT%H:00"])
def test_a_capped_search_is_cut_at_the_days_and_hours_of_its_zone(
    lake: Lake, tmp_path: Path, zone: str, form: str
) -> None:
    """A day has 58 rows, the hour that comes twice 5 more: two days are too many for a search."""
    api = Bounded(zone, form, search_cap=70)
    text = orders(
        form,
        zone,
        ', offset: "{offset}", limit: "{limit}"',
        "paging: {kind: offset, limit: 35, total: total, overlap: false}",
        "search_cap: 70",
        "rows: rows",
    )
    check(lake, tmp_path, api, text, zone, NOW.date(), NOW.date())


@pytest.mark.parametrize("zone", ZONES)
def test_a_page_by_the_cursor_that_gets_no_further_is_no_end_in_any_zone(
    lake: Lake, tmp_path: Path, zone: str
) -> None:
    """An API that holds fewer rows a page than requested, and fewer than there are of a day."""
    text = orders("%Y-%m-%d", zone, ', limit: "{limit}"', "paging: {kind: cursor, limit: 200}")
    day = date(2026, 10, 28)
    with pytest.raises(ContractBroken, match="more rows lie behind them"):
        check(lake, tmp_path, Bounded(zone, "%Y-%m-%d", cap=10), text, zone, day, day)
    check(lake, tmp_path, Bounded(zone, "%Y-%m-%d", cap=70), text, zone, day, day)
