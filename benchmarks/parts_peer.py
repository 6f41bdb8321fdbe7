"""``headrace_peer`` with a meter at its parts: CPU seconds of the thread that runs each."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks import headrace_peer
from benchmarks.job import answer, read_job
from pipeline.decode import fast_path
from pipeline.decode.json_decoder import JsonDecoder
from pipeline.extract import fetcher
from pipeline.lake import attempt, parquet
from pipeline.run import writer
from pipeline.run.staged_partition import StagedPartition

JSON, COLUMNS, CHECKS = "JSON to arrays", "arrays to columns", "page against what was asked"
PARQUET, S3, BATCH = "pages to Parquet", "batch to S3", "pages to one schema"
COMMIT, LOOP, REST = "reading back, commit", "the loop: HTTP, budget, handing on", "the rest"

_MEASURED: tuple[tuple[str, Any, str], ...] = (
    (JSON, fast_path, "read_bytes"),
    (COLUMNS, JsonDecoder, "read"),
    (COLUMNS, JsonDecoder, "read_together"),
    (CHECKS, fetcher.PageFetcher, "_parse_all"),
    (PARQUET, writer.PartitionWriter, "_new_file"),
    (PARQUET, parquet.ParquetBuffer, "add"),
    (S3, attempt.Attempt, "stage"),
    (BATCH, writer.PartitionWriter, "_write"),
    (COMMIT, StagedPartition, "_commit"),
)
_INSIDE = {COLUMNS: (JSON,), CHECKS: (COLUMNS,), BATCH: (PARQUET,)}


def measured(
    cpu_s: dict[str, float], name: str, function: Callable[..., Any]
) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            cpu_s[name] += time.thread_time() - began

    return timed


def own(cpu_s: dict[str, float]) -> dict[str, float]:
    """Each part without those inside it."""
    return {n: cpu_s[n] - sum(cpu_s[i] for i in _INSIDE.get(n, ())) for n, *_ in _MEASURED}


def main() -> None:
    cpu_s: dict[str, float] = defaultdict(float)
    for name, owner, attribute in _MEASURED:
        setattr(owner, attribute, measured(cpu_s, name, getattr(owner, attribute)))
    began = time.thread_time()
    told = headrace_peer.figures(read_job())
    parts = own(cpu_s)
    parts[LOOP] = time.thread_time() - began
    parts[REST] = told["cpu_s"] - sum(parts.values())
    answer({**told, "parts": parts})


if __name__ == "__main__":
    main()
