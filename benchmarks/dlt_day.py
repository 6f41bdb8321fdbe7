"""dlt on a day of all endpoints, in an environment of its own: incremental, from its own state.

The job's options name the ``endpoints`` and until when rows are read, in seconds since 1970. What
was loaded before, dlt knows from its state in the job's folder; a process that is started after a
kill finishes the package that was on its way, or reads again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
from dlt.sources.helpers.requests import Client

from benchmarks.dlt_peer import Turns, configure, token
from benchmarks.job import Job, answer, read_job
from benchmarks.meter import Meter

WORKERS = 4
"""One a request of the limit: with the latency of the scenario they keep it busy."""


def resource(job: Job, session: Any, endpoint: str) -> Any:
    """The rows of one endpoint, from the greatest `updated_at` that dlt has seen."""

    @dlt.resource(  # type: ignore[untyped-decorator,unused-ignore]  # dlt is not installed here
        name=endpoint,
        primary_key="id",
        write_disposition="append",
        max_table_nesting=0,
        parallelized=True,
    )
    def rows(
        updated_at: Any = dlt.sources.incremental("updated_at", initial_value=0),  # noqa: B008
    ) -> Iterator[list[dict[str, Any]]]:
        after, is_full = 0, True
        while is_full:
            statement = (
                f"fields *; where id > {after} & updated_at >= {updated_at.start_value} & "
                f"updated_at < {job.options['until']}; sort id asc; limit {job.page};"
            )
            response = session.post(f"{job.base_url}/{endpoint}", data=statement)
            page = response.json()
            is_full = len(page) == job.page
            if page:
                after = page[-1]["id"]
                yield page

    return rows


def main() -> None:
    job = read_job()
    configure(job)
    with Meter() as meter:
        session = Client(request_timeout=30).session
        session.headers.update(token(job))
        session.mount(job.origin, Turns(job.rate, WORKERS))
        pipeline = dlt.pipeline(
            "day",
            destination="filesystem",
            dataset_name="dlt",
            pipelines_dir=str(Path(job.folder) / "dlt"),
        )
        if pipeline.has_pending_data:  # of a process that was killed
            pipeline.run().raise_on_failed_jobs()
        resources = [resource(job, session, endpoint) for endpoint in job.options["endpoints"]]
        pipeline.run(resources, loader_file_format="parquet").raise_on_failed_jobs()
    answer(meter.figures())


if __name__ == "__main__":
    main()
