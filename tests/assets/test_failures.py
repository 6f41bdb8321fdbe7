"""The text of a step that could not do everything: each endpoint, partition and reason."""

from collections.abc import Sequence
from datetime import date, timedelta

from assets.failures import MAX_RETRIES, FailureReport, report_of_error, report_of_step
from pipeline.errors import ApiUnavailable, RequestRefused
from pipeline.lake.manifest import Manifest
from pipeline.run.context import PartitionResult
from pipeline.run.runner import PartitionFailed, RunOutcome

DAYS = [(date(2026, 2, 26) + timedelta(days=number)).isoformat() for number in range(5)]


def refused(endpoint: str, partition: str, why: str = "no such field") -> PartitionFailed:
    return PartitionFailed(endpoint, partition, RequestRefused(f"api/{endpoint}, page 1: {why}"))


def of_step(
    failed: list[PartitionFailed], committed: int, days: Sequence[str] = DAYS
) -> FailureReport:
    done = [PartitionResult("done", Manifest(), "committed")] * committed
    return report_of_step("api", RunOutcome(results=done, failed=failed), 1, days)


def test_every_endpoint_is_named_with_its_day_and_reason_once() -> None:
    names = [f"e{number:02d}" for number in range(70)]
    failed = [refused(name, DAYS[0]) for name in names]
    failed += [
        PartitionFailed("slow", DAYS[1], ApiUnavailable("api/slow, page 1: no answer", wait_s=9))
    ]
    found = of_step(failed, 3)
    listed = ", ".join(f"api/{name}" for name in names)
    assert found.text.splitlines() == [
        f"{listed} 2026-02-26: page 1: no such field",
        "api/slow 2026-02-27: page 1: no answer",
        "Not attempted, since an earlier partition failed: "
        f"{listed} 2026-02-27 to 2026-03-02; api/slow 2026-02-28 to 2026-03-02.",
        "3 partitions of this run are committed, and stay.",
        "Attempt 2 of 4 follows in 9 s.",
    ]
    assert found.retry_in_s == 9


def test_the_last_day_s_failure_leaves_none_that_was_not_attempted() -> None:
    found = of_step([refused("a", DAYS[-1])], 0)
    assert found.text == f"api/a {DAYS[-1]}: page 1: no such field"
    found = of_step([refused("a", DAYS[-2])], 1)
    assert f"Not attempted, since an earlier partition failed: api/a {DAYS[-1]}.\n" in found.text


def test_a_list_of_any_length_has_an_end() -> None:
    failed = [refused(f"e{number:04d}", DAYS[0]) for number in range(1000)]
    said = of_step(failed, 0, DAYS[:1]).text
    assert said.endswith("api/e0199 and 800 more 2026-02-26: page 1: no such field")


def test_after_the_last_attempt_the_text_says_where_a_new_run_starts() -> None:
    down = ApiUnavailable("no answer", wait_s=9)
    assert report_of_error(down, MAX_RETRIES).retry_in_s == 9
    last = report_of_error(down, MAX_RETRIES + 1)
    assert last.retry_in_s is None
    assert last.text.splitlines() == [
        "no answer",
        "Gave up after 4 attempts. The next run resumes from the last checkpoint.",
    ]
