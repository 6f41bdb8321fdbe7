"""Volumes that nothing uses, by account, with what they cost a month: a table and a plot.

    HEADRACE_AWS_ACCOUNTS=organization dagster dev -f examples/aws/unused_volumes.py

Prices are those of us-east-1 in November 2026, US dollars for a GiB and a month; write your own.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

import definitions
from pipeline.lake.read import current
from resources import LakeResource

VOLUMES: Final = dg.AssetKey(["aws", "ec2_volumes"])
COLUMNS: Final = (
    "account_id", "account_name", "region", "volume_id", "volume_type", "size", "state",
)  # fmt: skip
PER_GIB: Final = {
    "gp2": 0.10, "gp3": 0.08, "io1": 0.125, "io2": 0.125, "st1": 0.045, "sc1": 0.015,
    "standard": 0.05,
}  # fmt: skip
WIDTH: Final = 40


@dataclass(frozen=True)
class AccountCost:
    """What an account pays a month for volumes that no instance uses.

    :ivar cost: US dollars a month, without snapshots and provisioned throughput.
    """

    account: str
    volumes: int
    gib: int
    cost: float


def unused(rows: list[dict[str, Any]]) -> list[AccountCost]:
    """By account, the most expensive first."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        if row["state"] == "available":
            size = int(row["size"] or 0)
            name = row["account_name"] or row["account_id"]
            found[name].append((size, size * PER_GIB.get(row["volume_type"], 0.0)))
    costs = [
        AccountCost(name, len(of), sum(size for size, _ in of), sum(cost for _, cost in of))
        for name, of in found.items()
    ]
    return sorted(costs, key=lambda one: (-one.cost, one.account))


def plot(costs: list[AccountCost]) -> str:
    """Markdown: a bar an account."""
    if not costs:
        return "no volume is unused"
    top = max(one.cost for one in costs) or 1.0
    width = max(len(one.account) for one in costs)
    lines = [
        f"{one.account:<{width}}  {'█' * max(1, round(WIDTH * one.cost / top)):<{WIDTH}}  "
        f"{one.cost:,.2f} $"
        for one in costs
    ]
    return "\n".join(["```", *lines, "```"])


@dg.asset(
    key=["reports", "unused_volumes"], group_name="reports", deps=[VOLUMES], kinds={"parquet"}
)
def unused_volumes(context: dg.AssetExecutionContext, lake: LakeResource) -> None:
    """Volumes that nothing uses, by account, with their cost a month."""
    opened = lake.open()
    rows = current(opened, "aws", "ec2_volumes", columns=list(COLUMNS)).to_pylist()
    costs = unused(rows)
    table = pa.Table.from_pylist([vars(one) for one in costs])
    file = opened.arrow_path("reports/unused_volumes.parquet")
    pq.write_table(table, file, filesystem=opened.filesystem())
    context.add_output_metadata(
        {
            "dagster/row_count": len(costs),
            "cost_a_month": round(sum(one.cost for one in costs), 2),
            "by_account": dg.MetadataValue.table(
                [dg.TableRecord({**vars(one), "cost": round(one.cost, 2)}) for one in costs]
            )
            if costs
            else "none",
            "plot": dg.MetadataValue.md(plot(costs)),
        }
    )


defs = dg.Definitions.merge(definitions.defs, dg.Definitions(assets=[unused_volumes]))
