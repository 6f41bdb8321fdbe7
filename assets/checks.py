"""The checks of a source's endpoints, from what the engine verified when it committed."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from assets.specs import asset_key
from pipeline.readback import committed_partitions
from pipeline.spec.source import Source
from pipeline.staged import Receipt
from pipeline.store import Lake

_MOST_NAMED = 20


def check_results(
    source: Source, lake: Lake, endpoint: str, receipts: Sequence[Receipt]
) -> list[dg.AssetCheckResult]:
    """One result a check: over all partitions of this run, and for coverage over the lake."""
    key = asset_key(source, endpoint)
    by_name: dict[str, list[tuple[str, bool, str]]] = {}
    for receipt in receipts:
        for check in receipt.manifest.checks:
            found = (receipt.manifest.partition, bool(check["passed"]), str(check["detail"]))
            by_name.setdefault(str(check["name"]), []).append(found)
    results = [_result(key, name, found) for name, found in by_name.items()]
    return [*results, coverage(source, lake, endpoint)]


def _result(
    key: dg.AssetKey, name: str, found: Sequence[tuple[str, bool, str]]
) -> dg.AssetCheckResult:
    failed = [f"{partition}: {detail}" for partition, passed, detail in found if not passed]
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(failed or [f"{p}: {detail}" for p, _, detail in found[-1:]]),
        metadata={"partitions": len(found), "failed_partitions": len(failed)},
    )


def coverage(source: Source, lake: Lake, endpoint: str) -> dg.AssetCheckResult:
    """Days between the first and the latest committed one that are not committed."""
    days = committed_partitions(lake, source.source, endpoint)
    missing = missing_days(source, endpoint, days)
    named = ", ".join(missing[:_MOST_NAMED]) + (" …" if len(missing) > _MOST_NAMED else "")
    return dg.AssetCheckResult(
        asset_key=asset_key(source, endpoint),
        check_name="coverage",
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(missing)} days are missing: {named}: materialize them"
        if missing
        else f"{len(days)} days, none missing",
        metadata={"committed": len(days), "missing": len(missing)},
    )


def missing_days(source: Source, endpoint: str, days: Sequence[str]) -> list[str]:
    """The gaps. A snapshot has none: a day that was not taken can't be taken any more."""
    if not days or not source.endpoints[endpoint].incremental:
        return []
    first, last = source.start, max(days)
    have, missing, day = set(days), [], first
    while day.isoformat() < last:
        if day.isoformat() not in have:
            missing.append(day.isoformat())
        day += timedelta(days=1)
    return missing
