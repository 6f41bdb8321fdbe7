"""An asset in another project, downstream of Headrace's in another code location.

    PYTHONPATH=/opt/headrace dagster dev -f another_project.py -f /opt/headrace/definitions.py

Nothing of Headrace's settings, sources or budgets is needed here: only the lake's address. It runs
by itself, once a day of ``igdb/games`` is there: `eager()` sees the assets of all locations of a
deployment, and the sensor ``automation`` is on.
"""

import os
from datetime import timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from dagster_aws.s3 import S3Resource

from resources import LakeRows

DAYS = dg.DailyPartitionsDefinition(os.environ.get("IGDB_START", "2026-11-01"), end_offset=1)
"""Those of the source: `start` and `timezone` of its YAML, and today."""
GAMES = dg.AssetSpec(["igdb", "games"], partitions_def=DAYS)
"""The asset of the other location, so that this one knows its partitions."""
YESTERDAY_TOO = dg.AutomationCondition.in_latest_time_window(timedelta(days=2))
"""The newest partition is today's; the schedule materializes yesterday's."""


@dg.asset(
    key=["reports", "rated"],
    group_name="reports",
    ins={
        "games": dg.AssetIn(
            GAMES.key,
            input_manager_key="lake_rows",
            metadata={"columns": ["id", "name", "rating"]},
        )
    },
    partitions_def=DAYS,
    automation_condition=dg.AutomationCondition.eager().replace(
        "in_latest_time_window", YESTERDAY_TOO
    ),
)
def rated(context: dg.AssetExecutionContext, games: pa.Table) -> None:
    """How many of the games that changed on a day have a rating, and the mean of it."""
    ratings = games["rating"].drop_null()
    mean = pc.mean(ratings).as_py()
    context.add_output_metadata({"dagster/row_count": len(ratings), "mean": mean or 0.0})


defs = dg.Definitions(
    assets=[GAMES, rated],
    sensors=[
        dg.AutomationConditionSensorDefinition(
            "automation",
            target=dg.AssetSelection.all(),
            default_status=dg.DefaultSensorStatus.RUNNING,
        )
    ],
    resources={
        "lake_rows": LakeRows(
            url=os.environ.get("HEADRACE_LAKE", "s3://my-bucket/headrace"), s3=S3Resource()
        )
    },
)
