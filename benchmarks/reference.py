"""The reference algorithm: batches of 8 pages behind a barrier, parsed and converted in the loop.

``Semaphore(4)`` and ``AsyncLimiter(3.2, 1)``, which is 0.8 of the limit; where a scenario has
another limit, 0.8 of that. ``response.json()``, ``Table.from_pylist`` with a schema, a Parquet file
a batch.
"""

import asyncio
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from aiolimiter import AsyncLimiter

from benchmarks.job import COLUMNS, LAST_UPDATE_S, Job, answer, read_job
from benchmarks.meter import Meter
from local.s3 import S3

BATCH_PAGES = 8
TRIES = 5
_TYPES = {
    "string": pa.string(),
    "float64": pa.float64(),
    "timestamp": pa.timestamp("s", tz="UTC"),
    "int64": pa.int64(),
    "list": pa.list_(pa.int64()),
}
SCHEMA = pa.schema([(name, _TYPES[kind]) for kind, names in COLUMNS.items() for name in names])


class Reference:
    def __init__(self, job: Job, http: httpx.AsyncClient) -> None:
        self._job = job
        self._http = http
        self._s3 = S3(**job.s3).client()
        self._places = asyncio.Semaphore(4)
        self._limiter = AsyncLimiter(0.8 * job.rate, 1) if job.rate else AsyncLimiter(10_000, 1)
        self.requests = self.rows = self.files = 0

    async def run(self) -> None:
        first = 0
        while True:
            offsets = range(first, first + BATCH_PAGES * self._job.page, self._job.page)
            pages = await asyncio.gather(*(self._page(offset) for offset in offsets))
            rows = [row for page in pages for row in page]
            if rows:
                self._write(rows)
            if len(pages[-1]) < self._job.page:
                return
            first = offsets.stop

    async def _page(self, offset: int) -> list[dict[str, Any]]:
        return await self.page(
            "/games",
            f"fields *; where updated_at < {LAST_UPDATE_S} | updated_at = null; sort id asc; "
            f"limit {self._job.page}; offset {offset};",
        )

    async def page(self, path: str, body: str) -> list[dict[str, Any]]:
        """The rows of one page, retried with backoff."""
        for tries in range(TRIES):
            try:
                async with self._places, self._limiter:
                    self.requests += 1
                    response = await self._http.post(path, content=body)
                response.raise_for_status()
                return list(response.json())
            except (httpx.HTTPError, ValueError):
                if tries == TRIES - 1:
                    raise
                await asyncio.sleep(2**tries / 2)
        raise AssertionError("unreachable")

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self.put(pa.Table.from_pylist(rows, SCHEMA), f"games/part-{self.files:05}.parquet")
        self.files += 1
        self.rows += len(rows)

    def put(self, table: pa.Table, name: str) -> None:
        """Write a Parquet file to S3."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", compression_level=1)
        key = f"{self._job.prefix}/{name}"
        self._s3.put_object(Bucket=self._job.bucket, Key=key, Body=sink.getvalue().to_pybytes())


async def signed_in(job: Job, http: httpx.AsyncClient) -> None:
    """Fetch a token, and let the client send it."""
    credentials = {"client_id": job.options["client_id"], "grant_type": "client_credentials"}
    credentials["client_secret"] = job.options["client_secret"]
    token = (await http.post(job.token_url, data=credentials)).json()["access_token"]
    http.headers.update({"Client-ID": job.options["client_id"], "Authorization": f"Bearer {token}"})


async def work(job: Job) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=job.base_url, timeout=30) as http:
        await signed_in(job, http)
        reference = Reference(job, http)
        await reference.run()
    return {"requests": reference.requests, "rows": reference.rows}


def main() -> None:
    job = read_job()
    with Meter() as meter:
        found = asyncio.run(work(job))
    answer({**meter.figures(), **found})


if __name__ == "__main__":
    main()
