"""The checks of a source's endpoints, from what the engine verified when it committed."""

import math
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import dagster as dg

from assets import failure_report
from assets.failures import end
from assets.progress import counted
from assets.specs import asset_key
from pipeline.config.source import Source
from pipeline.errors import HeadraceError
from pipeline.lake.index import ManifestIndex
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.adjacency import gaps
from pipeline.run.staged_partition import PartitionResult
from resources import LakeResource

_MOST_NAMED = 20
_MOST_JOINED = 7
"""Of the newest days: only one that was read before it had ended may end early. Each of them costs
a request to S3, for every endpoint of a run."""
NEAR = 0.8
"""Lateness beyond this part of the safety margin is worth a warning."""


def checks_alone(
    context: dg.AssetExecutionContext, source: Source, lake: LakeResource
) -> Iterator[dg.AssetCheckResult]:
    """Checks that run without their assets: of the newest partition, as it was committed.

    :raises dagster.Failure, dagster.RetryRequested: the lake can't be read.
    """
    checked = {key.asset_key for key in context.selected_asset_check_keys}
    alone = checked - set(context.selected_asset_keys)
    names = [name for name in source.endpoints if asset_key(source, name) in alone]
    if not names:
        return
    try:
        opened = lake.open()
        for name in names:
            newest = ManifestIndex(opened).latest(source.source, name)
            receipts = [PartitionResult(name, newest, "already committed")] if newest else []
            yield from check_results(context, source, opened, name, receipts)
    except HeadraceError as error:
        end(context, failure_report.of_error(error, context.retry_number + 1))


def check_results(
    context: dg.AssetExecutionContext,
    source: Source,
    lake: ObjectStore,
    endpoint: str,
    receipts: Sequence[PartitionResult],
) -> list[dg.AssetCheckResult]:
    """The checks that are asked for: what held for these partitions, and the coverage of all."""
    asked = {
        key.name
        for key in context.selected_asset_check_keys
        if key.asset_key == asset_key(source, endpoint)
    }
    return [each for each in _all(source, lake, endpoint, receipts) if each.check_name in asked]


def _all(
    source: Source, lake: ObjectStore, endpoint: str, receipts: Sequence[PartitionResult]
) -> list[dg.AssetCheckResult]:
    results = [
        integrity(source, endpoint, receipts),
        schema(source, endpoint, receipts),
        coverage(source, lake, endpoint),
    ]
    if source.endpoints[endpoint].incremental:
        results.append(margin(source, endpoint, receipts))
    return results


def integrity(
    source: Source, endpoint: str, receipts: Sequence[PartitionResult]
) -> dg.AssetCheckResult:
    """The statements that the engine verified, each over all partitions of this run."""
    failed: dict[str, list[str]] = {}
    holds: dict[str, str] = {}
    for receipt in receipts:
        for check in receipt.manifest.checks:
            name, detail = str(check["name"]), str(check["detail"])
            if check["passed"]:
                holds[name] = detail
            else:
                failed.setdefault(name, []).append(f"{receipt.manifest.partition}: {detail}")
    said = [f"{name}: {'; '.join(details)}" for name, details in failed.items()]
    return dg.AssetCheckResult(
        asset_key=asset_key(source, endpoint),
        check_name="integrity",
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description="\n".join(said)
        or f"{counted(len(receipts), 'partition')}, every statement holds",
        metadata={
            "partitions": len(receipts),
            **holds,
            **{n: "; ".join(d) for n, d in failed.items()},
        },
    )


def schema(
    source: Source, endpoint: str, receipts: Sequence[PartitionResult]
) -> dg.AssetCheckResult:
    """How the columns differ from those of the partition before: a warning, as readers may care."""
    changes = [
        f"{receipt.manifest.partition}: {change}"
        for receipt in receipts
        for change in receipt.manifest.notes.schema_changes
    ]
    return dg.AssetCheckResult(
        asset_key=asset_key(source, endpoint),
        check_name="schema",
        passed=not changes,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(changes[:_MOST_NAMED]) or "no column has changed",
        metadata={"changes": len(changes)},
    )


def margin(
    source: Source, endpoint: str, receipts: Sequence[PartitionResult]
) -> dg.AssetCheckResult:
    """Whether the latest of the late rows lay well inside the safety margin."""
    margin_s = source.margin_s(endpoint)
    latest_s = max((r.manifest.latest_late_s or 0.0 for r in receipts), default=0.0)
    late = sum(receipt.manifest.late_rows for receipt in receipts)
    wide = latest_s <= NEAR * margin_s
    said = f"{late:,} late rows, the latest by {latest_s:,.0f} s of a margin of {margin_s:,.0f} s"
    wider = f"; rows may come later than that: set safety_margin_s to {wider_margin_s(latest_s)}"
    return dg.AssetCheckResult(
        asset_key=asset_key(source, endpoint),
        check_name="margin",
        passed=wide,
        severity=dg.AssetCheckSeverity.WARN,
        description=said if wide else said + wider,
        metadata={"late_rows": late, "latest_late_s": latest_s, "safety_margin_s": margin_s},
    )


def wider_margin_s(latest_s: float) -> int:
    """Twice the lateness, in whole hours."""
    return max(1, math.ceil(2 * latest_s / 3600)) * 3600


def coverage(source: Source, lake: ObjectStore, endpoint: str) -> dg.AssetCheckResult:
    """Days up to the latest committed one that are not committed, or don't join the day after."""
    days = ManifestIndex(lake).partitions(source.source, endpoint)
    missing = missing_days(source, endpoint, days)
    named = ", ".join(missing[:_MOST_NAMED]) + (" …" if len(missing) > _MOST_NAMED else "")
    said = [f"missing: {named} ({counted(len(missing), 'day')}): materialize them"]
    if missing[:1] == [source.start.isoformat()]:
        said[0] += f"; {missing[0]} is the baseline, no other day has the rows from before it"
    apart = list(gaps(source, lake, endpoint, days[-_MOST_JOINED:]))
    return dg.AssetCheckResult(
        asset_key=asset_key(source, endpoint),
        check_name="coverage",
        passed=not missing and not apart,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join([*said[: len(missing)], *apart[:_MOST_NAMED]])
        or f"{counted(len(days), 'day')}, none missing",
        metadata={"committed": len(days), "missing": len(missing), "gaps": len(apart)},
    )


def missing_days(source: Source, endpoint: str, days: Sequence[str]) -> list[str]:
    """Days before the newest committed one that are not committed.

    None of a snapshot: a day that was not taken then can't be taken any more.
    """
    if not days or not source.incremental(endpoint):
        return []
    length = (date.fromisoformat(max(days)) - source.start).days
    wanted = (source.start + timedelta(days=number) for number in range(length))
    committed = set(days)
    return [day.isoformat() for day in wanted if day.isoformat() not in committed]
