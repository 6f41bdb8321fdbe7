"""Dagster's Postgres storage, with the events by which a run is planned written in batches.

Before a run starts, the daemon or the webserver writes an event for each asset and partition of it,
and one for each check. Dagster's own storage takes each by itself, with two connections and four
statements: a minute or more for ten days of a large source (docs/decisions/0016).
Here those that Dagster hands over together (`DAGSTER_EVENT_BATCH_SIZE`) are one statement. The rows
in Postgres are the same: dagster.yaml may go back to `postgres:` at any time.

This module rests on private behaviour of Dagster's pinned version: tests/deploy/test_event_log.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy
from dagster import DagsterEventType, EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config

PLANNED = {
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
}


class BatchedEventLog(PostgresEventLogStorage):
    """Dagster's event log, which writes planned materializations and checks in batches."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events, those of a plan by one statement; all others as Dagster does."""
        if not {event.get_dagster_event().event_type for event in events} <= PLANNED:
            super().store_event_batch(events)
            return
        statement = self.prepare_insert_event_batch(events)
        with self._connect() as connection:
            rows = connection.execute(statement.returning(SqlEventLogStorageTable.c.id))
            ids = [int(row[0]) for row in rows]
        last_of_asset: dict[str, tuple[EventLogEntry, int]] = {}
        checks: list[dict[str, Any]] = []
        for event, event_id in zip(events, ids, strict=True):
            if key := event.get_dagster_event().asset_key:
                last_of_asset[key.to_string()] = event, event_id
            else:
                checks += self._planned_checks(event, event_id)
        with self.index_transaction() as connection:
            for event, event_id in last_of_asset.values():
                self._store_asset_event(connection, event, event_id)
            if checks:
                connection.execute(sqlalchemy.insert(AssetCheckExecutionsTable).values(checks))

    def _planned_checks(self, event: EventLogEntry, event_id: int) -> list[dict[str, Any]]:
        """The rows of a planned check: one, or one for each partition of a check that has them."""
        planned = event.get_dagster_event().asset_check_planned_data
        subset = planned.partitions_subset
        timestamp = self._event_insert_timestamp(event)  # type: ignore[no-untyped-call]
        return [
            {
                "asset_key": planned.asset_key.to_string(),
                "check_name": planned.check_name,
                "partition": partition,
                "run_id": event.run_id,
                "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
                "evaluation_event": serialize_value(event),
                "evaluation_event_timestamp": timestamp,
                "evaluation_event_storage_id": event_id,
            }
            for partition in (subset.get_partition_keys() if subset else [None])
        ]


class BatchedPostgresStorage(DagsterPostgresStorage):
    """Dagster's records in Postgres, with that event log; `storage: custom:` in dagster.yaml."""

    def __init__(self, postgres_url: str, **settings: Any) -> None:
        super().__init__(postgres_url, **settings)
        settings.pop("inst_data", None)
        self._event_log_storage = BatchedEventLog(postgres_url, **settings)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "BatchedPostgresStorage":
        return cls(
            pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
            token_provider=get_token_provider_from_config(config_value),
        )
