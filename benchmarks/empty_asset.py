"""An asset that does nothing: what Dagster costs by itself."""

import dagster as dg


@dg.asset
def empty() -> None:
    """Nothing."""


defs = dg.Definitions(assets=[empty])
