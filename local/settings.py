"""The environment in which Dagster sees the local services, and nothing of the user's own."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from local.process import python_env
from local.s3 import S3, child_env

BUCKET = "lake"
LAKE = f"s3://{BUCKET}/headrace"
SAFETY_MARGIN_S = 3600


def dagster_env(
    s3: S3, api: Mapping[str, str], home: Path, start: date, sources: str = "sources/igdb.yaml"
) -> dict[str, str]:
    """`api` says where the API is and who calls it; `start` is the first partition.

    :param sources: what loads. A source of the user's own may need settings that are not there.
    """
    return child_env(
        s3.env(),
        api,
        python_env(),
        {
            "DAGSTER_HOME": str(home),
            "HEADRACE_LAKE": LAKE,
            "HEADRACE_BUDGET": str(home / "budget"),
            "HEADRACE_SOURCES": sources,
            "IGDB_START": start.isoformat(),
            "IGDB_SAFETY_MARGIN_S": str(SAFETY_MARGIN_S),
        },
    )
