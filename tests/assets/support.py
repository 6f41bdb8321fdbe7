"""Materialize a source's assets in this process, against the emulator and a real S3."""

import itertools
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource

from assets import source_assets
from emulator.testing import Emulator
from local.services import S3
from pipeline.config.loader import load_source
from pipeline.config.source import Source
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from resources import ApiResource, BudgetResource, LakeResource

ROOT = Path(__file__).resolve().parents[2]
IGDB = ROOT / "sources" / "igdb.yaml"
SECRET = "s3cret-of-the-emulator"
MARGIN_S = 3600
_numbers = itertools.count()


def today() -> date:
    return datetime.now(UTC).date()


def day(back: int) -> str:
    """The partition of that many days ago."""
    return (today() - timedelta(days=back)).isoformat()


def day_s(back: int) -> int:
    """When that day begins, in unix seconds."""
    return int(datetime.fromisoformat(day(back)).replace(tzinfo=UTC).timestamp())


FIRST_BACK = 6
"""The first partition is that many days ago."""


def s3_resource(s3: S3, **settings: Any) -> S3Resource:
    """A server as the resource of `dagster-aws`."""
    return S3Resource(
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
        **settings,
    )


def resources_at(url: str, s3: S3Resource, budget: Path) -> dict[str, Any]:
    """What a source's assets need, with budgets in a folder."""
    return {
        "lake": LakeResource(url=url, s3=s3),
        "api": ApiResource(budget=BudgetResource(where=str(budget))),
    }


@dataclass
class Ran:
    """What a run in this process came to."""

    result: dg.ExecuteInProcessResult
    entries: Sequence[dg.EventLogEntry]

    @property
    def success(self) -> bool:
        return self.result.success

    @property
    def log(self) -> str:
        return "\n".join(entry.message for entry in self.entries)

    def materializations(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """(endpoint, partition, metadata) of each event, in order of endpoint and partition."""
        made = [entry.asset_materialization for entry in self.entries]
        found = [
            (each.asset_key.path[-1], str(each.partition), each.metadata) for each in made if each
        ]
        return sorted(found, key=lambda one: one[:2])

    def materialized(self) -> list[tuple[str, str]]:
        return [one[:2] for one in self.materializations()]

    def checks(self) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
        """Those that Dagster has stored, those of a step that failed too."""
        events = [entry.dagster_event for entry in self.entries]
        found = [
            event.asset_check_evaluation_data
            for event in events
            if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]
        assert len({each.asset_check_key for each in found}) == len(found)
        return {(each.asset_key.path[-1], each.check_name): each for each in found}

    def retries(self) -> list[float]:
        """The wait before each retry, as the log has it. The step waits, not Dagster."""
        kind = dg.DagsterEventType.STEP_UP_FOR_RETRY
        asked = [
            event.step_retry_data for event in self.result.all_events if event.event_type is kind
        ]
        assert not [each for each in asked if each.seconds_to_wait]
        told = re.findall(r"^Attempt \d of \d follows in ([\d.]+) s\.$", self.log, re.MULTILINE)
        assert len(told) == len(asked)
        return [float(wait_s) for wait_s in told]

    def failure(self) -> str:
        """What is said first and last of the step's failure, with Dagster's stack in between."""
        (event,) = [e for e in self.result.all_events if e.is_step_failure]
        data = event.step_failure_data
        assert data.user_failure_data is not None, data.error
        said = str(data.user_failure_data.description)
        assert data.error_display_string.partition("Failure: ")[2].startswith(said)
        assert data.error_display_string.endswith(f"HeadraceError: {said}\n")
        return said

    def everything(self) -> str:
        """All that Dagster keeps of the run, as text: no secret may be in it."""
        return "\n".join(repr(entry) for entry in self.entries)


@dataclass
class Headrace:
    """The IGDB source over an emulator, with a lake of its own."""

    source: Source
    s3: S3
    api: Emulator
    budget: Path
    url: str = field(default_factory=lambda: f"s3://lake/dag-{next(_numbers)}")

    @property
    def lake(self) -> Lake:
        return Lake(self.s3.client(), self.url)

    def assets(self, *, snapshots_by_partition: bool = False) -> dg.AssetsDefinition:
        return source_assets(self.source, snapshots_by_partition=snapshots_by_partition)

    def resources(self) -> dict[str, Any]:
        return resources_at(self.url, s3_resource(self.s3, max_attempts=2), self.budget)

    def run(
        self,
        chosen: Sequence[str] | dg.AssetSelection,
        first: str | None,
        last: str | None = None,
        *,
        instance: dg.DagsterInstance | None = None,
        further: Sequence[dg.AssetsDefinition] = (),
        by_command: bool = False,
    ) -> Ran:
        """One run of these endpoints, for one day, or for the days from ``first`` to ``last``; for
        none, of checks alone.

        :param further: assets of a project of its own that are in the run too.
        :param by_command: as ``dagster asset materialize --partition`` runs it.
        """
        ranged = {
            "dagster/asset_partition_range_start": str(first),
            "dagster/asset_partition_range_end": str(last),
        }
        if not isinstance(chosen, dg.AssetSelection):
            keys = [dg.AssetKey(["igdb", name]) for name in chosen]
            chosen = dg.AssetSelection.assets(*keys, *(k for each in further for k in each.keys))
        with warnings.catch_warnings(), instance or dg.DagsterInstance.ephemeral() as used:
            # Dagster's own nested resources use what Dagster itself calls deprecated.
            warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
            result = dg.materialize(
                [self.assets(snapshots_by_partition=by_command), *further],
                selection=chosen,
                resources=self.resources(),
                instance=used,
                partition_key=None if last else first,
                tags=ranged if last else None,
                raise_on_error=False,
            )
            return Ran(result, used.all_logs(result.run_id))

    def rows(self, endpoint: str) -> list[dict[str, Any]]:
        """All committed rows of an endpoint, as they lie in the lake."""
        return list(dataset(self.lake, "igdb", endpoint).to_table().to_pylist())

    def ids(self, endpoint: str) -> list[int]:
        return sorted(row["id"] for row in self.rows(endpoint))


def igdb(api: Emulator, yaml: Mapping[str, str] | None = None, **settings: str) -> Source:
    """The source of ``sources/igdb.yaml``, pointed at the emulator.

    :param yaml: pieces of the file's text, and what is to stand there instead.
    """
    text = IGDB.read_text()
    for piece, other in (yaml or {}).items():
        assert piece in text
        text = text.replace(piece, other)
    env = {**api.env(), "IGDB_START": day(FIRST_BACK), "IGDB_SAFETY_MARGIN_S": str(MARGIN_S)}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        source = load_source(file.name, env | settings)
    # Dagster takes a second to resolve seventy assets, in every run.
    few = {name: source.endpoints[name] for name in ("games", "genres", "themes", "covers")}
    return source.model_copy(update={"endpoints": few})


def failing(endpoint: str, **fault: object) -> list[dict[str, object]]:
    """Fault rules for all requests of an endpoint, those that ride with others included."""
    return [
        {"path": f"/v4/{endpoint}", **fault},
        {"path": "/v4/multiquery", "contains": f"query {endpoint}", **fault},
    ]


IMPATIENT = {
    "schedule: {hour": """retries: {errors: 0, timeouts: 0}
breaker: {open_s: 0.2}
schedule: {hour""",
}
"""Tries a page once, and waits a fifth of a second between the tries of a step."""
ALONE = {'fields: "*"}': 'fields: "*", pack: 1}'}
"""Every page is a request of its own, so that requests can be counted by endpoint."""
