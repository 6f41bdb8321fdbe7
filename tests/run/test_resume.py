"""A try that began before its day had ended must not leave the rest of the day to nobody."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from emulator.testing import running
from pipeline import ratelimit
from pipeline.config import load_source
from pipeline.http.client import open_client
from pipeline.lake.read import dataset, manifests
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source
from pipeline.timestamps import as_iso
from tests.support.clock import at_once

BASELINE, DAY, NEXT = "2026-03-01", "2026-03-02", "2026-03-03"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 3, 9, tzinfo=UTC)


@pytest.mark.slow
def test_the_hours_after_an_early_try_are_read(lake: Lake) -> None:
    """The same run: the day at noon, and both days on the morning after."""
    with running(games=300, rate=0, until=BASELINE) as api:
        source = load_source("sources/igdb.yaml", {**api.env(), "IGDB_START": BASELINE})

        def materialize(days: list[str], now: datetime) -> RunOutcome:
            async def main() -> RunOutcome:
                limits = ratelimit.Limits((ratelimit.RateWindow(10_000, 1.0),), 8)
                async with open_client(source, ratelimit.open_budget("b", limits, None)) as client:
                    outcome = RunOutcome()
                    run = RunContext(source, lake, client, "the run", lambda: now, sleep=at_once)
                    await run_source(run, ["games"], days, outcome)
                    return outcome

            return asyncio.run(main())

        assert not materialize([BASELINE, DAY], NOON).failed
        evening = int((NOON + timedelta(hours=8)).timestamp())
        [changed] = api.touch("games", count=1, updated_at=evening)
        assert not materialize([DAY, NEXT], LATER).failed
        table = dataset(lake, "igdb", "games", [DAY]).to_table(columns=["id"])
        assert changed in table["id"].to_pylist()
        ends = [as_iso(m.window.end) for m in manifests(lake, "igdb", "games")]
        assert ends == ["2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z", "2026-03-03T09:00:00Z"]
