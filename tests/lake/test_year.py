"""A lake that has grown: what looks at all of it takes a few requests, however many days."""

from collections.abc import Callable
from typing import Any

import pytest

from assets.asset_checks import coverage
from benchmarks.year import counting, days, fill, operations, source_of_endpoints
from pipeline.lake.index import manifest_of, read_all
from pipeline.lake.paths import archive_of, manifests_folder
from pipeline.lake.read import current, manifests
from pipeline.lake.s3 import Lake

DAYS = 60


@pytest.fixture
def grown(lake: Lake) -> Lake:
    fill(lake, ["a", "b"], days(DAYS))
    return lake


def requests_of(lake: Lake, operation: Callable[[], Any]) -> int:
    with counting(lake) as sent:
        operation()
    return len(sent)


@pytest.mark.slow
def test_all_of_a_lake_is_looked_at_in_a_few_requests(grown: Lake) -> None:
    named = operations(grown, source_of_endpoints(["a", "b"]))
    first = {name: requests_of(grown, operation) for name, operation in named.items()}
    assert first["coverage"] > DAYS, "each manifest is read, and kept in the archive"
    then = {name: requests_of(grown, operation) for name, operation in named.items()}
    assert then["coverage"] == 2
    assert then["latest manifest"] == 3
    assert then["current"] == 3
    assert then["maintenance"] <= 3 + 2 * 2


def test_the_archive_follows_what_is_committed(grown: Lake) -> None:
    source = source_of_endpoints(["a"])
    assert coverage(source, grown, "a").passed
    fill(grown, ["a"], days(DAYS + 1)[-1:])
    last = days(DAYS)[-1]
    old = manifest_of(grown, "year", "a", last)
    assert old is not None
    key = f"{manifests_folder('year', 'a')}dt={last}.json"
    stored = grown.get(key)
    assert stored is not None
    grown.put(
        key,
        old.to_json().replace('"throttled": 0', '"throttled": 7').encode(),
        replaces=stored.etag,
    )
    found = manifests(grown, "year", "a")
    assert [each.partition for each in found] == days(DAYS + 1)
    assert [each.throttled for each in found[-3:]] == [0, 7, 0]
    assert current(grown, "year", "a").num_rows == (DAYS + 1) * 20


@pytest.mark.parametrize("body", [b"", b"[]", b'{"version": 1, "manifests": 3}', b'{"version": 9}'])
def test_an_archive_that_is_no_archive_is_passed_over(grown: Lake, body: bytes) -> None:
    grown.put(archive_of("year", "a"), body, replaces=None)
    listed = list(grown.list(manifests_folder("year", "a")))
    assert len(read_all(grown, "year", "a", listed, save=True).committed) == DAYS
    sent = requests_of(grown, lambda: read_all(grown, "year", "a", listed))
    assert sent == 1


def test_an_archive_with_another_partition_s_manifest_is_not_believed(grown: Lake) -> None:
    listed = list(grown.list(manifests_folder("year", "a")))
    read_all(grown, "year", "a", listed, save=True)
    archive = grown.get(archive_of("year", "a"))
    assert archive is not None
    one, other = days(2)
    swapped = archive.body.replace(
        f'\\"partition\\": \\"{one}\\"'.encode(), f'\\"partition\\": \\"{other}\\"'.encode()
    )
    assert swapped != archive.body
    grown.put(archive_of("year", "a"), swapped, replaces=archive.etag)
    assert [m.partition for m in manifests(grown, "year", "a")] == days(DAYS)
