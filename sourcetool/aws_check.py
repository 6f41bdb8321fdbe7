"""``check`` of a source of kind ``aws``: who asks, which lanes there are, and what they say.

Of each endpoint two pages are read in a few lanes, of each account at least one: whether the role
can be assumed shows in each, and what it may not read in the first. Nothing is written.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.config.each import lists_of
from pipeline.config.source import Source
from pipeline.errors import HeadraceError
from pipeline.extract.fetcher import PageFetcher
from pipeline.extract.partition_values import PagesOfValue, PartitionValue
from pipeline.extract.plan import shape_of
from pipeline.lanes import Lane, LaneSender, lanes_of, open_lanes, values_of_lanes
from pipeline.messages import RequestCounts
from pipeline.run.values import values_of
from resources.budget import BudgetResource, default_budget_folder
from sourcetool.probe import window_of
from sourcetool.show import print_refusal

MOST_LANES = 3
"""Lanes in which each endpoint is read."""


@dataclass(frozen=True)
class LaneProbe:
    """The response of a lane to an endpoint: how many rows, or the error.

    :ivar outcome: rows, none, denied, throttled or failed; ``reason`` why.
    """

    endpoint: str
    lane: str
    rows: int
    outcome: str
    reason: str = ""


def check_aws(
    source: Source, names: Sequence[str], pages: int, days: float, console: Console, *, json: bool
) -> int:
    """Look at endpoints; 1 if a lane failed, or nobody can be asked."""
    try:
        lanes, own, probes = asyncio.run(_look(source, names, pages, days))
    except HeadraceError as error:
        if json:
            console.print_json(data={"verdict": "broken", "mistakes": [str(error)]})
        else:
            print_refusal(console, str(error))
        return 1
    if json:
        console.print_json(data=_as_json(lanes, own, probes))
    else:
        _show(console, lanes, own, probes)
    return int(any(each.outcome in ("failed", "throttled") for each in probes))


async def _look(
    source: Source, names: Sequence[str], pages: int, days: float
) -> tuple[Sequence[Lane], str, list[LaneProbe]]:
    where = os.environ.get("HEADRACE_BUDGET") or default_budget_folder()
    async with open_lanes(source, BudgetResource(where=where).open) as sender:
        lanes = await lanes_of(sender)
        own = sender.sessions.own_account
        values = values_of_lanes(source, lanes, own)
        look = _Look(source, sender, values, pages, days)
        probes = [probe for account in _accounts(lanes) for probe in await look.account(account)]
        for name in names:
            probes += await look.endpoint(name)
        return lanes, own, probes


def _accounts(lanes: Sequence[Lane]) -> list[str]:
    return list(dict.fromkeys(lane.account_id for lane in lanes))


class _Look:
    """Reads a few pages in a few lanes; ``rows`` of what came, by endpoint, for its children."""

    def __init__(
        self,
        source: Source,
        sender: LaneSender,
        values: Mapping[str, tuple[PartitionValue, ...]],
        pages: int,
        days: float,
    ) -> None:
        self._source, self._sender, self._values = source, sender, values
        self._pages, self._days = pages, days
        self._rows: dict[str, list[pa.Table]] = {}

    async def account(self, account: str) -> list[LaneProbe]:
        """Whether an account can be asked at all; said only if it can't."""
        try:
            await self._sender.sessions.credentials(account)
        except HeadraceError as error:
            return [LaneProbe("(the account)", account, 0, "failed", str(error))]
        return []

    async def endpoint(self, name: str) -> list[LaneProbe]:
        values = self._values.get(name) or self._of_rows(name)
        if not values:
            return [LaneProbe(name, "–", 0, "none", "no row of the endpoint above")]
        step = max(1, len(values) // MOST_LANES)
        return [await self._lane(name, value) for value in values[::step][:MOST_LANES]]

    def _of_rows(self, name: str) -> Sequence[PartitionValue]:
        (value_list,) = lists_of(self._source.endpoints[name])
        tables = [table for table in self._rows.get(str(value_list.endpoint), ()) if table.num_rows]
        if not tables:
            return ()
        rows = pa.concat_tables(tables, promote_options="permissive")
        return values_of(self._source, name, value_list, rows)

    async def _lane(self, name: str, value: PartitionValue) -> LaneProbe:
        endpoint = self._source.endpoints[name]
        window = window_of(endpoint, datetime.now(UTC), self._days)
        decoder = endpoint.format.decoder(shape_of(endpoint), label=name)
        fetcher = PageFetcher(self._sender, self._source, name, window, decoder, RequestCounts())
        pages, request, rows = PagesOfValue(fetcher, value), endpoint.paging.first_request(), 0
        lane = f"{value.fields.get('each.account_id')}/{value.fields.get('each.region')}"
        try:
            for _ in range(self._pages):
                page = await pages.page(request)
                rows += page.table.num_rows
                self._rows.setdefault(name, []).append(page.table)
                following = endpoint.paging.next_request(request, page.info)
                if following is None:
                    break
                request = following
        except HeadraceError as error:
            reason = error.code if error.outcome in ("none", "denied") else str(error)
            return LaneProbe(name, lane, rows, error.outcome, reason)
        return LaneProbe(name, lane, rows, "rows" if rows else "none")


def _show(console: Console, lanes: Sequence[Lane], own: str, probes: Sequence[LaneProbe]) -> None:
    accounts = _accounts(lanes)
    regions = sorted({lane.region for lane in lanes})
    console.print(
        f"[green]✓[/] The credentials are of the account {own}. {len(lanes)} lanes: "
        f"{len(accounts)} accounts ({', '.join(accounts[:5])}{' …' if len(accounts) > 5 else ''}) "
        f"in {', '.join(regions[:20])}",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for title in ("endpoint", "lane", "rows", "outcome", "reason"):
        table.add_column(title)
    for probe in probes:
        table.add_row(
            probe.endpoint, probe.lane, f"{probe.rows:,}", probe.outcome, escape(probe.reason)
        )
    console.print(table, highlight=False)
    counts = Counter(probe.outcome for probe in probes)
    summary = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    console.print(f"{len(probes)} lanes of endpoints looked at: {summary}", highlight=False)


def _as_json(lanes: Sequence[Lane], own: str, probes: Sequence[LaneProbe]) -> dict[str, object]:
    failed = any(probe.outcome in ("failed", "throttled") for probe in probes)
    return {
        "verdict": "broken" if failed else "sound",
        "account": own,
        "lanes": [f"{lane.account_id}/{lane.region}" for lane in lanes],
        "seen": [vars(probe) for probe in probes],
    }
