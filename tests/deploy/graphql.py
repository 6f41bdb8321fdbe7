"""What the UI asks of the webserver: launch, backfill, look."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from tests.deploy.service import Service

T = TypeVar("T")
ENDS = ("SUCCESS", "FAILURE", "CANCELED")
JOB = "igdb_daily"
POOLED = 30


def wait_for(what: Callable[[], T], of: Service, timeout_s: float = 240.0) -> T:
    """What is there at last."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s; {of.said(30)}"
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Webserver:
    """The GraphQL API of a webserver."""

    url: str
    service: Service

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """The data of the response.

        A query is repeated as one reloads a page: after a restart of Postgres, Dagster's webserver
        answers with an error once for each connection that it had pooled.
        """
        body = {"query": query, "variables": variables}
        for _ in range(1 if query.startswith("mutation") else POOLED):
            response = httpx.post(f"{self.url}/graphql", json=body, timeout=60, trust_env=False)
            if response.status_code != 500:
                break
        found = response.raise_for_status().json()
        assert "errors" not in found, found
        return dict(found["data"])

    def wait_for_location(self) -> None:
        """Until the code server's definitions are there."""

        def loaded() -> bool:
            entries = self.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
            return all(
                (one["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation"
                for one in entries
            )

        wait_for(loaded, self.service)

    def launch(self, endpoints: Sequence[str], partition: str) -> str:
        """Start a run of some endpoints for one day; its id."""
        params = {
            "selector": {
                "repositoryName": "__repository__",
                "repositoryLocationName": "headrace",
                "pipelineName": JOB,
                "assetSelection": _keys(endpoints),
            },
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }
        found = self.ask(LAUNCH, params=params)["launchRun"]
        assert found["__typename"] == "LaunchRunSuccess", found
        return str(found["run"]["runId"])

    def backfill(self, endpoints: Sequence[str], partitions: Sequence[str]) -> str:
        """Start a backfill; its id."""
        params = {"assetSelection": _keys(endpoints), "partitionNames": [*partitions]}
        found = self.ask(BACKFILL, params=params)["launchPartitionBackfill"]
        assert found["__typename"] == "LaunchBackfillSuccess", found
        return str(found["backfillId"])

    def backfill_status(self, backfill: str) -> str:
        return str(self.ask(BACKFILL_STATUS, id=backfill)["partitionBackfillOrError"]["status"])

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the newest first; their tags as a dictionary."""
        found = self.ask(RUNS)["runsOrError"]["results"]
        return [one | {"tags": {tag["key"]: tag["value"] for tag in one["tags"]}} for one in found]

    def last_attempt(self, run_id: str) -> dict[str, Any]:
        """The run, or the last one that was started in its place."""
        family = [
            one for one in self.runs()
            if one["runId"] == run_id or one["tags"].get("dagster/root_run_id") == run_id
        ]  # fmt: skip
        return family[0]

    def status(self, run_id: str) -> str:
        return str(self.ask(RUN, id=run_id)["runOrError"]["status"])

    def wait(self, run_id: str) -> str:
        """The status in which a run ends."""
        wait_for(lambda: self.status(run_id) in ENDS, self.service)
        return self.status(run_id)


def _keys(endpoints: Sequence[str]) -> list[dict[str, list[str]]]:
    return [{"path": ["igdb", name]} for name in endpoints]


LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
  locationOrLoadError { __typename } } } } }"""
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
BACKFILL = """mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status } } }"""
RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"""
RUNS = """{ runsOrError(limit: 50) { ... on Runs { results {
  runId status tags { key value } } } } }"""
