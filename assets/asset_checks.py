"""The checks of a source's endpoints, from what the engine verified when it committed."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import dagster as dg

from assets.failures import end, report_of_error
from assets.metadata import proof_in_words, unended
from assets.specs import asset_key
from pipeline.config.source import Source
from pipeline.errors import HeadraceError, counted, first_of
from pipeline.lake.damage import damaged_files, mend
from pipeline.lake.index import ManifestIndex, read_all
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.context import PartitionResult
from pipeline.run.other_runs import gaps
from resources import LakeResource

CHECKS = {
    "integrity": (
        "Read back before the commit: no two rows of a partition have the same key, no key is "
        "null, every row lies in the window; and no row can lie between two pages"
    ),
    "schema": "The columns and their types are those of the previous partition",
    "margin": "The latest of the late rows lies well inside the safety margin",
    "coverage": "Every partition from the first to the latest committed one is committed, its "
    "files are there, and every statement held when it was read",
}
"""A check costs Dagster some 50 ms a run, and a source may have 70 endpoints: so there are few."""
EACH_RUN = "integrity"
"""The check that a scheduled run records always; of the others it records what has changed."""
_MOST_NAMED = 20
_NEWEST = 7
"""The newest partitions, which are compared with their neighbours. Older ones need no look: only a
partition that was read before it had ended can end early."""
NEAR = 0.8
"""Lateness beyond this part of the safety margin is worth a warning."""


def check_specs(source: Source, name: str) -> list[dg.AssetCheckSpec]:
    """The checks of one endpoint; they run in the step that materializes it."""
    return [
        dg.AssetCheckSpec(check, asset=asset_key(source, name), description=text)
        for check, text in CHECKS.items()
        if check != "margin" or _has_margin(source, name)
    ]


def _has_margin(source: Source, name: str) -> bool:
    """Whether late rows are looked for: a change token brings what is late as another change."""
    endpoint = source.endpoints[name]
    if endpoint.bookmark is not None:
        return endpoint.bookmark.margin is not None
    return endpoint.incremental


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
            results = [PartitionResult(name, newest, "already committed")] if newest else []
            yield from check_results(context, source, opened, name, results, only_selected=True)
    except HeadraceError as error:
        end(context, report_of_error(error, context.retry_number + 1))


def check_results(
    context: dg.AssetExecutionContext,
    source: Source,
    lake: ObjectStore,
    endpoint: str,
    results: Sequence[PartitionResult],
    *,
    only_selected: bool = False,
    passed: Collection[dg.AssetCheckKey] = (),
) -> list[dg.AssetCheckResult]:
    """The check results that a run records: on these partitions, and on the coverage of all.

    A run may have selected only some of an asset's checks, as the source's job does. Selected
    checks are always recorded. An unselected check is recorded if it fails now, if it did not pass
    the last time, or if it was never recorded. A run that selects only a child table selects no
    check of the endpoint, but commits the endpoint's rows all the same: it records what a scheduled
    run does.

    :param only_selected: record no unselected check, whatever its result.
    :param passed: the unselected checks that passed the last time.
    """
    key = asset_key(source, endpoint)
    selected = {k.name for k in context.selected_asset_check_keys if k.asset_key == key}
    if not selected and key not in context.selected_asset_keys:
        selected = {EACH_RUN}
    if not selected:
        return []
    results_of_all = all_checks(source, lake, endpoint, results)
    if only_selected:
        return [each for each in results_of_all if each.check_name in selected]
    return [
        each
        for each in results_of_all
        if each.check_name in selected
        or not each.passed
        or dg.AssetCheckKey(key, str(each.check_name)) not in passed
    ]


def all_checks(
    source: Source, lake: ObjectStore, endpoint: str, results: Sequence[PartitionResult]
) -> list[dg.AssetCheckResult]:
    """The results of all checks of an endpoint: statements on some partitions, coverage of all."""
    checks = [
        integrity(source, endpoint, results),
        schema(source, endpoint, results),
        coverage(source, lake, endpoint),
    ]
    if _has_margin(source, endpoint):
        checks.append(margin(source, endpoint, results))
    return checks


def integrity(
    source: Source, endpoint: str, results: Sequence[PartitionResult]
) -> dg.AssetCheckResult:
    """The statements that the engine verified, each over all partitions of this run.

    A failure is only a warning. Rows that are shown to be wrong are never committed, so the
    statements that can fail here say that rows may be missing.
    """
    failed: dict[str, list[str]] = {}
    holds: dict[str, str] = {}
    for result in results:
        for check in result.manifest.checks:
            name, detail = str(check["name"]), str(check["detail"])
            if check["passed"]:
                holds[name] = detail
            else:
                failed.setdefault(name, []).append(f"{result.manifest.partition}: {detail}")
    failures = [f"{name}: {'; '.join(details)}" for name, details in failed.items()]
    return dg.AssetCheckResult(
        asset_key=asset_key(source, endpoint),
        check_name="integrity",
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description="\n".join(failures)
        or f"{counted(len(results), 'partition')}, every statement holds" + _worth(source, results),
        metadata={
            "partitions": len(results),
            **holds,
            **{n: "; ".join(d) for n, d in failed.items()},
        },
    )


def _worth(source: Source, results: Sequence[PartitionResult]) -> str:
    """The basis of the proofs, and until when a partition is complete that had not ended."""
    proofs = dict.fromkeys(proof_in_words(result.manifest) for result in results)
    open_ended = [
        f"{result.manifest.partition} is complete until {text}"
        for result in results
        for text in unended(source, result.manifest).values()
    ]
    return "".join(f"; {text}" for text in [*proofs, *open_ended])


def schema(
    source: Source, endpoint: str, results: Sequence[PartitionResult]
) -> dg.AssetCheckResult:
    """How the columns differ from those of the previous partition: a warning, for readers' sake."""
    changes = [
        f"{result.manifest.partition}: {change}"
        for result in results
        for change in result.manifest.notes.schema_changes
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
    source: Source, endpoint: str, results: Sequence[PartitionResult]
) -> dg.AssetCheckResult:
    """Whether the latest of the late rows lay well inside the safety margin, in its own unit."""
    late = sum(result.manifest.late_rows for result in results)
    bookmark = source.endpoints[endpoint].bookmark
    if bookmark is None:
        latest = max((result.manifest.latest_late_s or 0.0 for result in results), default=0.0)
        allowed = source.margin_s(endpoint)
        by = f"by {latest:,.0f} s of a margin of {allowed:,.0f} s"
        remedy = f"safety_margin_s to {wider_margin_s(latest)}"
        measured = {"latest_late_s": latest, "safety_margin_s": allowed}
    else:
        latest = max((result.manifest.notes.late_by or 0 for result in results), default=0)
        allowed = bookmark.margin or 0
        by = f"by {latest:,} of a margin of {allowed:,} numbers"
        remedy = f"cursor.safety_margin to {2 * latest}"
        measured = {"latest_late_by": latest, "safety_margin": allowed}
    lateness = f"{late:,} late rows, the latest {by}"
    wide, wider = latest <= NEAR * allowed, f". Rows may come later than that: set {remedy}"
    return dg.AssetCheckResult(
        asset_key=asset_key(source, endpoint),
        check_name="margin",
        passed=wide,
        severity=dg.AssetCheckSeverity.WARN,
        description=lateness if wide else f"{lateness}{wider}",
        metadata={"late_rows": late, **measured},
    )


def wider_margin_s(latest_s: float) -> int:
    """Twice the lateness, in whole hours."""
    return max(1, math.ceil(2 * latest_s / 3600)) * 3600


def coverage(source: Source, lake: ObjectStore, endpoint: str) -> dg.AssetCheckResult:
    """Partitions up to the latest committed one that are missing, damaged, or leave a gap."""
    calendar = source.calendar
    objects = list(lake.list(f"{source.source}/{endpoint}/"))
    manifests = read_all(lake, source.source, endpoint, objects, save=True)
    in_lake = [each.manifest for place, each in sorted(manifests.committed.items(), key=_by_name)]
    committed = sorted(p.partition for p in (*manifests.committed, *manifests.refused))
    keys = [key for key in committed if calendar.has(key)]
    missing = missing_partitions(source, endpoint, keys)
    sentences = [f"missing: {_some(source, missing)}: materialize them"]
    if missing[:1] == [calendar.first]:
        sentences[0] += (
            f"; {missing[0]} is the baseline, and no other {source.partitions.noun} has the rows "
            "from before it"
        )
    newest = {*keys[-_NEWEST:]}
    near = [manifest for manifest in in_lake if manifest.partition in newest]
    gap_sentences = list(gaps(source, endpoint, near))
    damage = [str(error) for error in manifests.refused.values()]
    damage += map(mend, damaged_files(lake, in_lake, objects))
    unproved = unproved_partitions(source, endpoint, in_lake)
    return dg.AssetCheckResult(
        asset_key=asset_key(source, endpoint),
        check_name="coverage",
        passed=not missing and not gap_sentences and not damage and not unproved,
        severity=dg.AssetCheckSeverity.ERROR if damage else dg.AssetCheckSeverity.WARN,
        description="; ".join(
            [
                *damage[:_MOST_NAMED],
                *sentences[: len(missing)],
                *gap_sentences[:_MOST_NAMED],
                *_on_unproved(source, unproved),
            ]
        )
        or f"{counted(len(keys), source.partitions.noun)}, none missing"
        + _starts_where_it_ended(source, endpoint),
        metadata={
            "committed": len(keys),
            "missing": len(missing),
            "gaps": len(gap_sentences),
            "damaged": len(damage),
            "unproved": len({key for keys in unproved.values() for key in keys}),
        },
    )


def _some(source: Source, keys: Sequence[str]) -> str:
    """The first of some partitions by name, and how many there are."""
    return f"{first_of(keys, _MOST_NAMED)} ({counted(len(keys), source.partitions.noun)})"


def unproved_partitions(
    source: Source, endpoint: str, committed: Sequence[Manifest]
) -> dict[str, list[str]]:
    """By statement, the partitions, in order, for which it did not hold when they were read.

    A snapshot has none, since an old one can't be read again. Where the endpoint has a cursor, the
    next partition reads the rows of values that failed; ``gaps`` names those it did not read.
    """
    failed: dict[str, list[str]] = {}
    if not source.incremental(endpoint):
        return failed
    made_up_for = {"values_read"} if source.endpoints[endpoint].incremental else set()
    for manifest in committed:
        for check in manifest.checks:
            if not check["passed"] and check["name"] not in made_up_for:
                failed.setdefault(str(check["name"]), []).append(manifest.partition)
    return failed


def _on_unproved(source: Source, unproved: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for statement, keys in unproved.items():
        yield (
            f"`{statement}` did not hold: {_some(source, keys)}: materialize them again; the check "
            f"`{EACH_RUN}` says what to set if it fails once more"
        )


def _starts_where_it_ended(source: Source, endpoint: str) -> str:
    bookmark, noun = source.endpoints[endpoint].bookmark, source.partitions.noun
    if bookmark is None:
        return ""
    return f"; each {noun} starts with the {bookmark.noun} that the {noun} before it ended with"


def _by_name(item: tuple[PartitionPaths, object]) -> str:
    return item[0].partition


def missing_partitions(source: Source, endpoint: str, committed: Collection[str]) -> list[str]:
    """Partitions before the newest committed one that are not committed.

    None of a snapshot: one that was not taken in time can't be taken any more.
    """
    if not committed or not source.incremental(endpoint):
        return []
    partitions, calendar = set(committed), source.calendar
    return [
        key for key in calendar.between(calendar.first, max(partitions)) if key not in partitions
    ]
