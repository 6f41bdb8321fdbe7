"""Bad input: one clear sentence, no retry where it can't help, no partial data, no secret told.

All of them run over one committed generation, which is there after each of them as it was.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from emulator.testing import Emulator
from local.ports import free_port
from local.services import S3
from tests.assets.support import ALONE, FIRST_BACK, IMPATIENT, SECRET, Headrace, Ran, day, igdb
from tests.support.identities import READER

pytestmark = pytest.mark.slow

DAY = day(FIRST_BACK)
ENDPOINTS = ["games", "genres"]
Spoil = Callable[[Headrace], None]


@pytest.fixture(scope="module")
def committed(emulator: Emulator, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Headrace:
    """A lake with one good generation."""
    found = Headrace(igdb(emulator), s3, emulator, tmp_path_factory.mktemp("budget"))
    assert found.run(ENDPOINTS, DAY).success
    return found


@pytest.fixture
def headrace(api: Emulator, committed: Headrace, tmp_path: Path) -> Headrace:
    return replace(committed, budget=tmp_path / "budget")


def wrong_secret(headrace: Headrace) -> None:
    headrace.source = igdb(headrace.api, IGDB_CLIENT_SECRET=f"not-{SECRET}")


def wrong_id(headrace: Headrace) -> None:
    headrace.source = igdb(headrace.api, IGDB_CLIENT_ID="somebody-else")


def html_instead_of_a_token(headrace: Headrace) -> None:
    headrace.api.faults({"kind": "html_200", "path": "/oauth2"})


def refused_by_the_api(headrace: Headrace) -> None:
    headrace.api.faults({"kind": "status", "status": 400, "message": "Invalid Field"})


def another_type(headrace: Headrace) -> None:
    casts = [{"endpoint": name, "field": "name", "as": "object"} for name in ENDPOINTS]
    headrace.api.config(cast=casts)


def html_instead_of_rows(headrace: Headrace) -> None:
    headrace.source = igdb(headrace.api, IMPATIENT | ALONE)
    headrace.api.faults({"kind": "html_200"})


def no_such_host(headrace: Headrace) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v4"
    headrace.source = igdb(headrace.api, IMPATIENT, IGDB_BASE_URL=nowhere)


def no_such_token_host(headrace: Headrace) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/oauth2/token"
    headrace.source = igdb(headrace.api, IMPATIENT, IGDB_TOKEN_URL=nowhere)


def no_such_bucket(headrace: Headrace) -> None:
    headrace.url = "s3://there-is-none/headrace"


def read_only(headrace: Headrace) -> None:
    headrace.s3 = headrace.s3.acting_as(READER)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (wrong_secret, "The token endpoint refused the credentials with status 403"),
        (wrong_secret, "The credentials come from IGDB_CLIENT_ID, IGDB_CLIENT_SECRET."),
        (wrong_id, "The token endpoint refused the credentials with status 400"),
        (html_instead_of_a_token, "The token endpoint responded with 200"),
        (refused_by_the_api, 'refused the request with status 400: {"message":"Invalid Field"}'),
        (another_type, 'column `name` is declared string, but row 0 (id 2) has {"value": "'),
        (no_such_bucket, "the bucket `there-is-none` does not exist"),
        (read_only, "these credentials may not"),
    ],
)
def test_what_no_retry_can_mend_fails_at_once(headrace: Headrace, spoil: Spoil, said: str) -> None:
    check(headrace, spoil, said, retries=0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_such_host, "no connection to 127.0.0.1"),
        (no_such_token_host, "no connection to 127.0.0.1"),
        (html_instead_of_rows, "the body is HTML or XML: 'Just a moment'"),
    ],
)
def test_what_may_pass_is_tried_four_times(headrace: Headrace, spoil: Spoil, said: str) -> None:
    check(headrace, spoil, said, retries=3)


def check(headrace: Headrace, spoil: Spoil, said: str, *, retries: int) -> None:
    before = replace(headrace)
    rows = {name: before.rows(name) for name in ENDPOINTS}
    files = parquet_files(before)
    assert rows["games"]
    spoil(headrace)
    ran = headrace.run(ENDPOINTS, DAY)
    assert not ran.success
    assert len(ran.retries()) == retries
    assert said in ran.failure()
    assert_readable(ran)
    assert_no_secret(ran, headrace)
    assert not ran.materialized()
    assert {name: before.rows(name) for name in ENDPOINTS} == rows
    assert parquet_files(before) == files


def parquet_files(headrace: Headrace) -> list[str]:
    return sorted(one.key for one in headrace.lake.list("igdb/") if one.key.endswith(".parquet"))


def assert_readable(ran: Ran) -> None:
    """A few short lines, each said once; no traceback and no object."""
    lines = ran.failure().splitlines()
    assert len(lines) <= 4
    assert len(set(lines)) == len(lines)
    assert all(len(line) < 500 for line in lines)
    assert not [line for line in lines if "Traceback" in line or "object at 0x" in line]


def assert_no_secret(ran: Ran, headrace: Headrace) -> None:
    text = ran.everything()
    for secret in (SECRET, headrace.s3.secret_key, READER.secret_key, "Bearer "):
        assert secret not in text


@pytest.mark.parametrize("partition", ["2001-01-01", "2999-01-01", "yesterday"])
def test_dagster_refuses_a_partition_that_is_none(headrace: Headrace, partition: str) -> None:
    with pytest.raises(dg.DagsterUnknownPartitionError, match=partition):
        headrace.run(["games"], partition)


def test_a_range_from_its_end_is_refused(headrace: Headrace) -> None:
    ran = headrace.run(["games"], day(1), day(3))
    assert not ran.success
    assert ran.retries() == []
    assert (
        ran.failure()
        == f"There is no partition from `{day(1)}` to `{day(3)}`: the earlier one comes first"
    )
