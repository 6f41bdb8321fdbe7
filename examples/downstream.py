"""An asset of your own, downstream of Headrace's: the best rated of the games that a day changed.

    dagster dev -f examples/downstream.py

It has the partitions of what it reads, so that Dagster knows which day of it needs which of theirs.
docs/how-to/downstream.md says more.
"""

from datetime import timedelta

import dagster as dg
import pyarrow.compute as pc
import pyarrow.parquet as pq

import definitions
from pipeline.lake.read import dataset
from resources import LakeResource

GAMES = dg.AssetKey(["igdb", "games"])
YESTERDAY_TOO = dg.AutomationCondition.in_latest_time_window(timedelta(days=2))
"""The newest partition is today's; the schedule materializes yesterday's."""


@dg.asset(
    key=["reports", "best_games"],
    group_name="reports",
    deps=[GAMES],
    partitions_def=definitions.defs.resolve_assets_def(GAMES).partitions_def,
    backfill_policy=definitions.defs.resolve_assets_def(GAMES).backfill_policy,
    automation_condition=dg.AutomationCondition.eager().replace(
        "in_latest_time_window", YESTERDAY_TOO
    ),
    kinds={"parquet", "s3"},
)
def best_games(context: dg.AssetExecutionContext, lake: LakeResource) -> None:
    """The ten best rated of the games that changed on a day."""
    opened = lake.open()
    for day in context.partition_keys:
        changed = dataset(opened, "igdb", "games", day)
        rated = changed.to_table(["id", "name", "rating"], filter=pc.field("rating").is_valid())
        best = rated.take(pc.select_k_unstable(rated, 10, [("rating", "descending")]))
        file = opened.arrow_path(f"reports/best_games/dt={day}.parquet")
        pq.write_table(best, file, filesystem=opened.filesystem())
        context.add_asset_metadata({"dagster/row_count": best.num_rows}, partition_key=day)


defs = dg.Definitions.merge(definitions.defs, dg.Definitions(assets=[best_games]))
