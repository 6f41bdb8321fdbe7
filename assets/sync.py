"""The job ``sync``: tells Dagster what the lake has, from the manifests, without reading an API.

For a new instance over an old lake, and after a crash in which a run committed what it could not
record. A generation that Dagster knows already is not recorded twice: each materialization has its
generation as Dagster's data version, so that one query finds all that are known of an asset.

Requests to the store for an endpoint: one for each 1,000 manifests that are listed, one for those
of the archive, and one for each manifest that is newer than the archive; the check ``coverage``
lists once more where something is recorded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from assets.asset_checks import EACH_RUN, all_checks
from assets.compat import (
    has_check_results,
    log_checks,
    log_materializations,
    recorded_generation,
    recorded_generations,
    unfinished_runs,
)
from assets.executors import end_with_the_run
from assets.failures import CRASH_RETRIES, end, fail, report_of_error
from assets.heartbeat import heartbeat
from assets.metadata import charts_of, materialization_of, tables_of
from assets.specs import asset_key
from pipeline.config.source import Source
from pipeline.errors import HeadraceError, counted, first_of
from pipeline.lake.index import read_all, read_committed
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths, manifests_folder
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.context import PartitionResult
from resources import LakeResource

RECORDED_BY_SYNC = "recorded by sync"
"""The ``outcome`` in the metadata of a partition that no run has recorded."""
_TOGETHER = 100
_MOST_NAMED = 20


class SyncConfig(dg.Config):
    """The config of the job ``sync``."""

    source: str = Field("", description="one source; empty: all")


@dataclass
class LakeComparison:
    """The result of one endpoint.

    :ivar to_record: partitions that Dagster did not know at their generation.
    :ivar known: how many it did know.
    :ivar in_work: of runs that are going on, which record them themselves.
    :ivar only_in_dagster: partitions that Dagster knows and the lake does not have.
    :ivar outside: partitions that the source's calendar does not have.
    :ivar refused: why a manifest can't be believed.
    :ivar newest: the newest committed partition that no run is at work on.
    """

    to_record: list[Manifest] = field(default_factory=list)
    known: int = 0
    in_work: int = 0
    only_in_dagster: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    newest: Manifest | None = None


def sync_job(sources: Sequence[Source], name: str = "sync") -> dg.JobDefinition:
    """The job that tells Dagster of sources.

    :param sources: all that are loaded, or that the job is for.
    """
    by_name = {source.source: source for source in sources}

    op = "tell_dagster" if name == "sync" else f"{name}_tells_dagster"  # unique in a project

    @dg.op(name=op, retry_policy=CRASH_RETRIES)
    def tell_dagster(
        context: dg.OpExecutionContext, config: SyncConfig, lake: LakeResource
    ) -> None:
        """Materializations and checks of what is committed, and not known to Dagster."""
        end_with_the_run()
        if config.source and config.source not in by_name:
            fail(
                f"`source` is `{config.source}`, which is not loaded: expected one of "
                + ", ".join(f"`{name}`" for name in by_name)
            )
        chosen = [by_name[config.source]] if config.source else sources
        with heartbeat(context):
            try:
                opened = lake.open()
                reports = [report for source in chosen for report in _sync(context, source, opened)]
            except HeadraceError as error:
                end(context, report_of_error(error, context.retry_number + 1))
        n_recorded, known = (
            sum(len(report.to_record) for report in reports),
            sum(report.known for report in reports),
        )
        context.log.info(
            f"{counted(n_recorded, 'partition')} recorded with Dagster, {_known_already(known)}"
        )
        context.add_output_metadata({"recorded": n_recorded, "recorded_before": known})

    @dg.job(
        name=name,
        description="Tell Dagster from the manifests what the lake has, without reading an API",
    )
    def sync() -> None:
        tell_dagster()

    return sync


def _sync(
    context: dg.OpExecutionContext, source: Source, lake: ObjectStore
) -> Iterator[LakeComparison]:
    for name in source.endpoints:
        report = compare(context.instance, source, name, lake)
        _tell(context, source, name, lake, report)
        if report.to_record or report.in_work:
            context.log.info(
                f"{source.source}/{name}: {counted(len(report.to_record), 'partition')} recorded "
                f"with Dagster, {_known_already(report.known)}, {report.in_work:,} left to the "
                "runs that record them"
            )
        for sentence in _warnings(source, name, lake, report):
            context.log.warning(sentence)
        yield report


def compare(
    instance: dg.DagsterInstance, source: Source, endpoint: str, lake: ObjectStore
) -> LakeComparison:
    """The events of an endpoint to record, in order of its partitions. None is recorded yet.

    The lake is read first. A run that commits after that is either in work or known.
    """
    objects = list(lake.list(manifests_folder(source.source, endpoint)))
    committed_of = read_all(lake, source.source, endpoint, objects, save=True)
    result = LakeComparison(refused=[str(error) for error in committed_of.refused.values()])
    places = sorted(committed_of.committed, key=lambda place: place.partition)
    in_work, key = unfinished_runs(instance), asset_key(source, endpoint)
    if source.incremental(endpoint):
        recorded: dict[str | None, str] = dict(recorded_generations(instance, key).items())
        result.outside = [p.partition for p in places if not source.calendar.has(p.partition)]
        in_lake = {place.partition for place in (*places, *committed_of.refused)}
        result.only_in_dagster = sorted(k for k in recorded if k and k not in in_lake)
        places = [place for place in places if source.calendar.has(place.partition)]
    else:  # Dagster knows no partitions of a snapshot: the newest one is its state
        recorded = {None: recorded_generation(instance, key)}
        places = places[-1:]
    for place in places:
        manifest = committed_of.committed[place].manifest
        generation = recorded.get(place.partition if source.incremental(endpoint) else None, "")
        if manifest.run_id in in_work:
            result.in_work += 1
            continue
        result.newest = manifest
        if generation == manifest.generation or not _still_there(lake, place, manifest, generation):
            result.known += 1
        else:
            result.to_record.append(manifest)
    return result


def _still_there(
    lake: ObjectStore, place: PartitionPaths, manifest: Manifest, generation: str
) -> bool:
    """False if a run has replaced the generation since it was listed, and has recorded that.

    A lake that was restored from a copy has older generations than Dagster knows, and stays so.
    """
    if generation < manifest.generation:
        return True
    now = read_committed(lake, place)
    return now is not None and now.manifest.generation == manifest.generation


def _tell(
    context: dg.OpExecutionContext,
    source: Source,
    name: str,
    lake: ObjectStore,
    report: LakeComparison,
) -> None:
    """Materializations, then the checks: of what is recorded now, or never was of what is known."""
    results = [PartitionResult(name, each, RECORDED_BY_SYNC) for each in report.to_record]
    charts = charts_of(source, name, lake, datetime.now(UTC)) if results else {}
    # Those of tables first: an endpoint that is known has its tables known, too.
    materializations = [table for each in results for table in tables_of(each, source, lake)]
    materializations += [
        # The newest materialization is the one that the asset's page shows.
        materialization_of(result, source, lake, charts=charts if result is results[-1] else {})
        for result in results
    ]
    for first in range(0, len(materializations), _TOGETHER):
        log_materializations(context, materializations[first : first + _TOGETHER])
    check = dg.AssetCheckKey(asset_key(source, name), EACH_RUN)
    if not results and report.newest and not has_check_results(context.instance, check):
        results = [PartitionResult(name, report.newest, RECORDED_BY_SYNC)]
    if results:
        log_checks(context, all_checks(source, lake, name, results))


def _warnings(
    source: Source, name: str, lake: ObjectStore, report: LakeComparison
) -> Iterator[str]:
    of, key = f"{source.source}/{name}", asset_key(source, name)
    yield from report.refused
    if report.only_in_dagster:
        where = lake.url().rstrip("/")
        yield (
            f"{of}: Dagster knows {counted(len(report.only_in_dagster), 'partition')} that "
            f"`{where}` does not have: {first_of(report.only_in_dagster, _MOST_NAMED)}. Check: "
            "1. that HEADRACE_LAKE is the lake that they were written to; 2. whether somebody "
            "removed them; then materialize them again, or have Dagster forget them: "
            f"`dagster asset wipe '{key.to_string()}'`, then `./headrace sync {source.source}`"
        )
    if report.outside:
        yield (
            f"{of}: the lake has {counted(len(report.outside), 'partition')} that the source does "
            f"not have: {first_of(report.outside, _MOST_NAMED)}. They are not recorded with "
            "Dagster. Check `start` and `timezone` in the YAML"
        )


def _known_already(number: int) -> str:
    return f"{number:,} {'was' if number == 1 else 'were'} recorded already"
