"""The environment in which Dagster sees the local services, and nothing of the user's own."""

import os
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from local.paths import ROOT
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
    scripts = str(Path(sys.executable).parent)
    return child_env(
        s3.env(),
        api,
        {
            "DAGSTER_HOME": str(home),
            "HEADRACE_LAKE": LAKE,
            "HEADRACE_BUDGET": str(home / "budget"),
            "HEADRACE_SOURCES": sources,
            "IGDB_START": start.isoformat(),
            "IGDB_SAFETY_MARGIN_S": str(SAFETY_MARGIN_S),
            "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            # Dagster's hints to use a newer command would hide what the demo shows.
            "PYTHONWARNINGS": "ignore",
        },
    )
