"""Airbyte's CDK on a day of all endpoints: incremental, from the state that its platform keeps.

The job's options name the ``endpoints`` and until when rows are read, in seconds since 1970. As a
destination does, the state of a stream is kept once its rows are on S3. Its cursor begins at the
last instant that it has seen, and reads the rows of it again: the platform's destinations drop them
by their key. The files here do so only for the rows that one process has read.
"""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from airbyte_cdk.models import (
    AirbyteStateMessageSerializer,
    AirbyteStream,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    SyncMode,
    Type,
)
from airbyte_cdk.sources.declarative.concurrent_declarative_source import (
    ConcurrentDeclarativeSource,
)

from benchmarks.airbyte_peer import s3_of, token
from benchmarks.job import Job, answer, read_job
from benchmarks.meter import Meter

AT_ONCE = 4


def manifest(job: Job, headers: dict[str, str]) -> dict[str, Any]:
    """The source, as a low-code connector's YAML would have it."""
    found: dict[str, Any] = {
        "version": "7.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": job.options["endpoints"][:1]},
        "concurrency_level": {
            "type": "ConcurrencyLevel",
            "default_concurrency": AT_ONCE,
            "max_concurrency": AT_ONCE,
        },
        "streams": [stream(job, headers, endpoint) for endpoint in job.options["endpoints"]],
        "spec": {
            "type": "Spec",
            "connection_specification": {"type": "object", "properties": {}},
        },
    }
    if job.rate:
        rates = [{"type": "Rate", "limit": job.rate, "interval": "PT1S"}]
        policy = {"type": "MovingWindowCallRatePolicy", "rates": rates, "matchers": []}
        found["api_budget"] = {"type": "HTTPAPIBudget", "policies": [policy]}
    return found


def stream(job: Job, headers: dict[str, str], endpoint: str) -> dict[str, Any]:
    """One stream with a cursor: a POST with a statement a page, by offset."""
    statement = (
        "fields *; where updated_at >= {{ stream_interval.start_time }} & "
        f"updated_at <= {{{{ stream_interval.end_time }}}}; sort id asc; limit {job.page}; "
        "offset {{ next_page_token['next_page_token'] if next_page_token else 0 }};"
    )
    return {
        "type": "DeclarativeStream",
        "name": endpoint,
        "primary_key": ["id"],
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"type": "object", "properties": {}, "additionalProperties": True},
        },
        "incremental_sync": {
            "type": "DatetimeBasedCursor",
            "cursor_field": "updated_at",
            "datetime_format": "%s",
            "start_datetime": {"type": "MinMaxDatetime", "datetime": "1", "datetime_format": "%s"},
            "end_datetime": {
                "type": "MinMaxDatetime",
                "datetime": str(job.options["until"] - 1),
                "datetime_format": "%s",
            },
        },
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {
                "type": "HttpRequester",
                "url_base": job.base_url,
                "path": f"/{endpoint}",
                "http_method": "POST",
                "request_headers": headers,
                "request_body": {"type": "RequestBodyPlainText", "value": statement},
            },
            "record_selector": {
                "type": "RecordSelector",
                "extractor": {"type": "DpathExtractor", "field_path": []},
            },
            "paginator": {
                "type": "DefaultPaginator",
                "pagination_strategy": {"type": "OffsetIncrement", "page_size": job.page},
            },
        },
    }


class Platform:
    """What Airbyte's platform and a destination do: files on S3, then the state of a stream."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rows: dict[str, dict[int, dict[str, Any]]] = {}
        self._file = Path(job.folder) / "airbyte-state.json"
        self._states: dict[str, Any] = (
            json.loads(self._file.read_text()) if self._file.exists() else {}
        )
        self._files = len(self._states)
        self._s3 = s3_of(job)

    def states(self) -> list[Any]:
        return [AirbyteStateMessageSerializer.load(each) for each in self._states.values()]

    def add(self, stream: str, row: dict[str, Any]) -> None:
        self._rows.setdefault(stream, {})[row["id"]] = row

    def keep(self, state: Any) -> None:
        name = state.stream.stream_descriptor.name
        if rows := self._rows.pop(name, None):
            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist([*rows.values()]), sink, compression="zstd")
            self._files += 1
            key = f"{self._job.prefix}/{name}/{self._job.options['day']}-{self._files:05}.parquet"
            self._s3.put_object(Bucket=self._job.bucket, Key=key, Body=sink.getvalue().to_pybytes())
        self._states[name] = AirbyteStateMessageSerializer.dump(state)
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps(self._states, default=str))
        written.replace(self._file)


def main() -> None:
    job = read_job()
    logger = logging.getLogger("airbyte")
    logger.setLevel(logging.ERROR)
    streams = [
        ConfiguredAirbyteStream(
            stream=AirbyteStream(
                name=endpoint,
                json_schema={},
                supported_sync_modes=[SyncMode.full_refresh, SyncMode.incremental],
            ),
            sync_mode=SyncMode.incremental,
            destination_sync_mode=DestinationSyncMode.append,
        )
        for endpoint in job.options["endpoints"]
    ]
    catalog = ConfiguredAirbyteCatalog(streams=streams)
    with Meter() as meter:
        platform = Platform(job)
        states = platform.states()
        source = ConcurrentDeclarativeSource(
            catalog=catalog, config={}, state=states, source_config=manifest(job, token(job))
        )
        for message in source.read(logger, {}, catalog, states):
            if message.type == Type.RECORD and message.record is not None:
                platform.add(message.record.stream, message.record.data)
            elif message.type == Type.STATE and message.state is not None:
                platform.keep(message.state)
    answer(meter.figures())


if __name__ == "__main__":
    main()
