"""Airbyte's CDK on one job: a low-code source, in an environment of its own.

The CDK ends with records; its destinations are programs of their own. So that the work is the same,
records are gathered here to files of 50,000 rows, by ``Table.from_pylist`` with a schema, and put
to S3. Its own budget paces it; ranges of keys are read side by side by its threads.
"""

import logging
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from airbyte_cdk.models import (
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

from benchmarks.job import COLUMNS, LAST_UPDATE_S, Job, answer, read_job
from benchmarks.meter import Meter

FILE_ROWS = 50_000
_TYPES = {
    "string": pa.string(),
    "float64": pa.float64(),
    "timestamp": pa.timestamp("s", tz="UTC"),
    "int64": pa.int64(),
    "list": pa.list_(pa.int64()),
}
SCHEMA = pa.schema([(name, _TYPES[kind]) for kind, names in COLUMNS.items() for name in names])


def manifest(job: Job, headers: dict[str, str]) -> dict[str, Any]:
    """The source, as a low-code connector's YAML would have it."""
    ranges = int(job.options.get("ranges", 1))
    bounds = [job.top_id * n // ranges for n in range(ranges + 1)]
    parts = [f"id > {low} & id < {high + 1}" for low, high in zip(bounds, bounds[1:])]  # noqa: B905, RUF007
    statement = (
        "fields *; where {{ stream_partition.part }} & "
        f"(updated_at < {LAST_UPDATE_S} | updated_at = null); sort id asc; limit {job.page}; "
        "offset {{ next_page_token['next_page_token'] if next_page_token else 0 }};"
    )
    most = max(2, ranges)
    found: dict[str, Any] = {
        "version": "7.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["games"]},
        "concurrency_level": {
            "type": "ConcurrencyLevel",
            "default_concurrency": most,
            "max_concurrency": most,
        },
        "streams": [stream(job, headers, statement, parts)],
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


def stream(job: Job, headers: dict[str, str], statement: str, parts: list[str]) -> dict[str, Any]:
    """One stream: a POST with a statement a page, by offset, for each range of keys."""
    requester = {
        "type": "HttpRequester",
        "url_base": job.base_url,
        "path": "/games",
        "http_method": "POST",
        "request_headers": headers,
        "request_body": {"type": "RequestBodyPlainText", "value": statement},
    }
    return {
        "type": "DeclarativeStream",
        "name": "games",
        "primary_key": ["id"],
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"type": "object", "properties": {}, "additionalProperties": True},
        },
        "retriever": {
            "type": "SimpleRetriever",
            "requester": requester,
            "record_selector": {
                "type": "RecordSelector",
                "extractor": {"type": "DpathExtractor", "field_path": []},
            },
            "paginator": {
                "type": "DefaultPaginator",
                "pagination_strategy": {"type": "OffsetIncrement", "page_size": job.page},
            },
            "partition_router": {
                "type": "ListPartitionRouter",
                "values": parts,
                "cursor_field": "part",
            },
        },
    }


def s3_of(job: Job) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=job.s3["endpoint_url"],
        aws_access_key_id=job.s3["access_key"],
        aws_secret_access_key=job.s3["secret_key"],
        region_name=job.s3["region"],
    )


class Files:
    """Records to Parquet files on S3."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rows: list[dict[str, Any]] = []
        self._files = 0
        self._s3 = s3_of(job)

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == FILE_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        sink = pa.BufferOutputStream()
        table = pa.Table.from_pylist(self._rows, SCHEMA)
        pq.write_table(table, sink, compression="zstd", compression_level=1)
        key = f"{self._job.prefix}/games/part-{self._files:05}.parquet"
        self._s3.put_object(Bucket=self._job.bucket, Key=key, Body=sink.getvalue().to_pybytes())
        self._files, self._rows = self._files + 1, []


def token(job: Job) -> dict[str, str]:
    form = {"client_id": job.options["client_id"], "grant_type": "client_credentials"}
    form["client_secret"] = job.options["client_secret"]
    found = requests.post(job.token_url, data=form, timeout=30).json()["access_token"]
    return {"Client-ID": job.options["client_id"], "Authorization": f"Bearer {found}"}


def main() -> None:
    job = read_job()
    logger = logging.getLogger("airbyte")
    logger.setLevel(logging.ERROR)
    stream = AirbyteStream(
        name="games", json_schema={}, supported_sync_modes=[SyncMode.full_refresh]
    )
    catalog = ConfiguredAirbyteCatalog(
        streams=[
            ConfiguredAirbyteStream(
                stream=stream,
                sync_mode=SyncMode.full_refresh,
                destination_sync_mode=DestinationSyncMode.append,
            )
        ]
    )
    with Meter() as meter:
        files = Files(job)
        source = ConcurrentDeclarativeSource(
            catalog=catalog, config={}, state=[], source_config=manifest(job, token(job))
        )
        for message in source.read(logger, {}, catalog, []):
            if message.type == Type.RECORD and message.record is not None:
                files.add(message.record.data)
        files.flush()
    answer(meter.figures())


if __name__ == "__main__":
    main()
