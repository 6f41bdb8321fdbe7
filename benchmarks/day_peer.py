"""One day of all endpoints, by one peer; whoever started it may kill it, and starts it again.

The job's options name the ``peer``, the ``endpoints``, the ``day``, the ``first`` partition, and of
the reference the instants ``start`` and ``end`` of the day's rows, in seconds since 1970.
"""

import asyncio
from typing import Any

import httpx
import pyarrow as pa

from benchmarks.headrace_peer import in_session, source_of
from benchmarks.job import Job, answer, read_job
from benchmarks.meter import Meter
from benchmarks.reference import BATCH_PAGES, Reference, signed_in
from local.s3 import S3
from pipeline.errors import Retryable
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source

_ATTEMPTS = 4
"""Of a step, as in Dagster."""


async def headrace(job: Job) -> None:
    """The engine as a step runs it: what may be retried is, after its wait."""
    source = source_of(job, job.options["first"])
    lake = Lake(S3(**job.s3).client(), f"s3://{job.bucket}/{job.prefix}")
    for attempt in range(1, _ATTEMPTS + 1):
        outcome = RunOutcome()

        async def work(run: RunContext, outcome: RunOutcome = outcome) -> None:
            await run_source(run, job.options["endpoints"], [job.options["day"]], outcome)

        await in_session(source, job, lake, work)
        if not outcome.failed:
            return
        error = outcome.failed[0].error
        if attempt == _ATTEMPTS or not isinstance(error, Retryable):
            raise error
        await asyncio.sleep(error.wait_s)


class DayReference(Reference):
    """The reference algorithm on the rows of one day: after a page that is full, eight at a time.

    What was written before it was killed it does not know of: it begins anew.
    """

    async def day(self, endpoint: str) -> None:
        page = self._job.page
        rows = await self._rows(endpoint, 0)
        offset, is_full = page, len(rows) == page
        while is_full:
            offsets = range(offset, offset + BATCH_PAGES * page, page)
            pages = await asyncio.gather(*(self._rows(endpoint, each) for each in offsets))
            rows += [row for of_page in pages for row in of_page]
            offset, is_full = offsets.stop, len(pages[-1]) == page
        if rows:
            self.put(pa.Table.from_pylist(rows), f"{endpoint}/day.parquet")

    async def _rows(self, endpoint: str, offset: int) -> list[dict[str, Any]]:
        bounds = self._job.options
        return await self.page(
            f"/{endpoint}",
            f"fields *; where updated_at >= {bounds['start']} & updated_at < {bounds['end']}; "
            f"sort id asc; limit {self._job.page}; offset {offset};",
        )


async def reference(job: Job) -> None:
    async with httpx.AsyncClient(base_url=job.base_url, timeout=30) as http:
        await signed_in(job, http)
        peer = DayReference(job, http)
        await asyncio.gather(*(peer.day(endpoint) for endpoint in job.options["endpoints"]))


PEERS = {"headrace": headrace, "headrace-single": headrace, "reference": reference}


def main() -> None:
    job = read_job()
    with Meter() as meter:
        asyncio.run(PEERS[job.options["peer"]](job))
    answer(meter.figures())


if __name__ == "__main__":
    main()
