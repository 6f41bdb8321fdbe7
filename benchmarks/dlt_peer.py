"""dlt's rest_api source on one job, in an environment of its own, tuned as its guides advise.

Parquet by the filesystem destination; nested lists kept in their row (``max_table_nesting=0``), not
spread over child tables; hints for the columns; large buffers and files; no state synced, no schema
contract. Where the API answers slowly, the keys are cut into ranges that are read side by side by
its thread pool. dlt has no rate limiter: a session that takes turns keeps to the limit.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

import dlt
import requests
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.rest_client.paginators import BasePaginator
from dlt.sources.rest_api import rest_api_source
from requests.adapters import HTTPAdapter

from benchmarks.job import COLUMNS, LAST_UPDATE_S, Job, answer, read_job
from benchmarks.meter import Meter

_TYPES = {
    "string": "text",
    "float64": "double",
    "timestamp": "timestamp",
    "int64": "bigint",
    "list": "json",
}


class ByKey(BasePaginator):  # type: ignore[misc,unused-ignore]  # dlt is not installed here
    """Pages of IGDB's statements: rows after the last key, up to the end of a range."""

    def __init__(self, page: int, low: int, high: int) -> None:
        super().__init__()
        self._page, self._after, self._high = page, low, high

    def _statement(self) -> str:
        return (
            f"fields *; where id > {self._after} & id < {self._high} & "
            f"(updated_at < {LAST_UPDATE_S} | updated_at = null); sort id asc; limit {self._page};"
        )

    def init_request(self, request: requests.Request) -> None:
        request.data = self._statement()

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        rows = data or []
        self._has_next_page = len(rows) >= self._page
        if rows:
            self._after = rows[-1]["id"]

    def update_request(self, request: requests.Request) -> None:
        request.data = self._statement()


class Turns(HTTPAdapter):
    """Sends requests, each when its turn has come."""

    def __init__(self, rate: int, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self._gap_s = 1.03 / rate if rate else 0.0
        self._lock = threading.Lock()
        self._next_s = 0.0
        self.requests = 0

    def send(self, *given: Any, **named: Any) -> requests.Response:
        with self._lock:
            self.requests += 1
            due = max(time.monotonic(), self._next_s)
            self._next_s = due + self._gap_s
        time.sleep(max(0.0, due - time.monotonic()))
        return super().send(*given, **named)


def configure(job: Job) -> None:
    settings = {
        "DESTINATION__FILESYSTEM__BUCKET_URL": f"s3://{job.bucket}/{job.prefix}",
        "DESTINATION__FILESYSTEM__CREDENTIALS__AWS_ACCESS_KEY_ID": job.s3["access_key"],
        "DESTINATION__FILESYSTEM__CREDENTIALS__AWS_SECRET_ACCESS_KEY": job.s3["secret_key"],
        "DESTINATION__FILESYSTEM__CREDENTIALS__ENDPOINT_URL": job.s3["endpoint_url"],
        "DESTINATION__FILESYSTEM__CREDENTIALS__REGION_NAME": job.s3["region"],
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
        "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "100000",
        "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "100000",
        "NORMALIZE__DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
        "NORMALIZE__WORKERS": "1",
        "EXTRACT__WORKERS": str(job.options.get("ranges", 1)),
        "RESTORE_FROM_DESTINATION": "false",
    }
    os.environ.update(settings)


def token(job: Job) -> dict[str, str]:
    form = {"client_id": job.options["client_id"], "grant_type": "client_credentials"}
    form["client_secret"] = job.options["client_secret"]
    found = requests.post(job.token_url, data=form, timeout=30).json()["access_token"]
    return {"Client-ID": job.options["client_id"], "Authorization": f"Bearer {found}"}


def resource(job: Job, number: int, ranges: int) -> dict[str, Any]:
    low, high = (job.top_id * n // ranges for n in (number, number + 1))
    return {
        "name": f"games_{number}",
        "table_name": "games",
        "write_disposition": "append",
        "columns": {
            name: {"data_type": _TYPES[kind]} for kind, names in COLUMNS.items() for name in names
        },
        "max_table_nesting": 0,
        "parallelized": ranges > 1,
        "endpoint": {
            "path": "games",
            "method": "POST",
            "data_selector": "$",
            "paginator": ByKey(job.page, low, high + 1),
        },
    }


def main() -> None:
    job = read_job()
    configure(job)
    folder = Path(job.folder)
    with Meter() as meter:
        ranges = int(job.options.get("ranges", 1))
        turns = Turns(job.rate, ranges)
        session = Client(request_timeout=30).session
        session.mount(job.origin, turns)
        source = rest_api_source(
            {
                "client": {
                    "base_url": f"{job.base_url}/",
                    "headers": token(job),
                    "session": session,
                },
                "resources": [resource(job, number, ranges) for number in range(ranges)],
            }
        )
        pipeline = dlt.pipeline(
            "bench",
            destination="filesystem",
            dataset_name="dlt",
            pipelines_dir=str(folder / "dlt"),
        )
        pipeline.run(source, loader_file_format="parquet").raise_on_failed_jobs()
    answer({**meter.figures(), "requests": turns.requests})


if __name__ == "__main__":
    main()
