"""What S3 does wrong, through a proxy between boto3 and a real S3, with the whole engine."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from emulator.testing import Emulator
from local.services import S3
from pipeline.errors import LakeRefused, LakeUnavailable
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from tests.faults.proxy import Proxy, proxied
from tests.faults.support import DAY, IN_DAY_S, Bench, check_clean, check_rows, igdb

pytestmark = pytest.mark.slow

ENDPOINT = "platforms"
EVERY_OPERATION = "list list_uploads get put create_upload upload_part complete_upload delete head"


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with proxied(s3.endpoint_url) as one:
        yield one


@pytest.fixture
def behind(api: Emulator, lake: Lake, s3: S3, proxy: Proxy) -> Callable[..., Bench]:
    """The engine, whose S3 is behind the proxy."""

    def make(*, attempts: int = 3, timeout_s: float = 10.0, pack: int = 10) -> Bench:
        client = replace(s3, endpoint_url=proxy.url).client(attempts=attempts, timeout_s=timeout_s)
        source = igdb(api, only=[ENDPOINT], batch_rows=100, page_rows=100, pack=pack)
        return Bench(source, Lake(client, lake.url().rstrip("/")))

    return make


def arrived(api: Emulator, lake: Lake) -> None:
    check_rows(lake, api.rows(ENDPOINT), ENDPOINT)
    check_clean(lake)


def test_slow_down_now_and_then_costs_only_time(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], proxy: Proxy
) -> None:
    seen = 0

    def every_third(operation: str, key: str) -> str | None:
        nonlocal seen
        seen += 1
        return "slow down" if seen % 3 == 0 else None

    proxy.fault = every_third
    assert len(behind(attempts=5).run().manifest.files) >= 3
    assert sum(proxy.broken.values()) >= 8
    proxy.heal()
    arrived(api, lake)


TO_RESUME = ("get", "list_uploads")
"""Operations that only a run needs which finds an earlier attempt."""


def cut_off(behind: Callable[..., Bench], proxy: Proxy) -> None:
    """A run that ends before its commit, and leaves its checkpoint."""
    proxy.some("slow down", "complete_upload", times=1_000)
    assert isinstance(behind(attempts=1).run().error, LakeUnavailable)
    proxy.heal()


@pytest.mark.parametrize("operation", EVERY_OPERATION.split()[1:-1])
def test_slow_down_that_does_not_end_is_said_and_the_next_run_goes_on(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], proxy: Proxy, operation: str
) -> None:
    if operation in TO_RESUME:
        cut_off(behind, proxy)
    proxy.some("slow down", operation, times=1_000)
    bench = behind(attempts=1)
    ran = bench.run()
    if operation == "delete":  # of what the commit has replaced: the rows are there already
        assert ran.manifest.files
    else:
        assert isinstance(ran.error, LakeUnavailable)
        said = ("not able to", "did not say whether")
        assert any(words in str(ran.error) for words in said), ran.error
    proxy.heal()
    assert bench.run().manifest.files
    arrived(api, lake)


@pytest.mark.parametrize("operation", ["upload_part", "put", "complete_upload"])
def test_an_answer_that_never_comes(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], proxy: Proxy, operation: str
) -> None:
    """boto3's timeout, then its own next try."""
    proxy.some("stall", operation)
    assert behind(timeout_s=1.5, attempts=3).run().manifest.files
    assert proxy.broken[operation] == 1
    arrived(api, lake)


def test_no_answer_at_all(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], proxy: Proxy
) -> None:
    proxy.some("stall", "upload_part", times=100)
    bench = behind(timeout_s=0.5, attempts=1)
    error = bench.run().error
    assert isinstance(error, LakeUnavailable)
    assert "can't be reached, or the connection broke, to upload_part" in str(error)
    proxy.heal()
    assert bench.run().manifest.files
    arrived(api, lake)


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_connection_that_is_reset_during_an_upload(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], proxy: Proxy, attempts: int
) -> None:
    proxy.some("reset", "upload_part")
    bench = behind(attempts=attempts)
    ran = bench.run()
    assert proxy.broken["upload_part"] == 1
    if attempts == 1:
        assert isinstance(ran.error, LakeUnavailable)
        assert bench.run().manifest.files
    else:
        assert ran.manifest.files
    arrived(api, lake)


@pytest.mark.parametrize("when", ["while it is sent", "before the commit"])
def test_an_upload_that_is_gone(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], when: str
) -> None:
    """A lifecycle rule removes unfinished uploads: here it strikes behind the engine's back."""
    bench = behind()
    struck: list[str] = []

    def strike(operation: str, key: str) -> None:
        first = {"while it is sent": "upload_part", "before the commit": "complete_upload"}[when]
        if operation == first and not struck:
            for upload in lake.uploads(""):
                struck.append(upload.upload_id)
                lake.abort_upload(upload.key, upload.upload_id)

    bench.lake.on_operation = strike
    ran = bench.run()
    assert struck
    if when == "before the commit":
        assert isinstance(ran.error, LakeUnavailable)
        assert "a staged file is gone from S3 before it was committed" in str(ran.error)
        assert "lifecycle rule" in str(ran.error)
        ran = bench.run()
    assert ran.manifest.proof.contiguous
    arrived(api, lake)


@pytest.mark.parametrize("operation", ["put", "upload_part", "complete_upload", "list_uploads"])
def test_access_that_is_revoked_in_the_middle(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], proxy: Proxy, operation: str
) -> None:
    """No retry mends it: it is said which permission is missing; what was staged stays."""
    if operation in TO_RESUME:
        cut_off(behind, proxy)
    proxy.some("denied", operation, times=100)
    bench = behind()
    error = bench.run().error
    assert isinstance(error, LakeRefused)
    assert "these credentials may not" in str(error)
    assert "s3:" in str(error)
    assert "AccessDenied" in str(error)
    proxy.heal()
    assert bench.run().manifest.files
    arrived(api, lake)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("expired", "the temporary credentials have expired: renew them"),
        ("unknown key", "the access key is not known there"),
        ("skewed", "this machine's clock is wrong by more than S3 accepts"),
        ("quota", "the quota of the bucket `lake` is used up: make room in it, or raise it"),
        ("full", "now (507 XMinioStorageFull)"),
    ],
)
@pytest.mark.parametrize(
    ("operation", "after"), [("put", 2), ("upload_part", 1), ("complete_upload", 0)]
)
def test_what_ends_in_the_middle_is_named_and_the_next_run_goes_on(
    api: Emulator,
    lake: Lake,
    behind: Callable[..., Bench],
    proxy: Proxy,
    what: str,
    said: str,
    operation: str,
    after: int,
) -> None:
    """Credentials, the clock's day, the room. Once it is mended only what is missing is asked."""
    bench = behind(pack=1)
    first = bench.run().requests
    api.touch(ENDPOINT, count=300, updated_at=IN_DAY_S)
    proxy.some(what, operation, times=1_000, after=after)
    error = bench.run().error
    assert isinstance(error, LakeUnavailable if what == "full" else LakeRefused)
    assert said in str(error)
    proxy.heal()
    assert bench.run().requests < first
    arrived(api, lake)


@pytest.mark.parametrize("what", ["slow down", "reset", "lost", "denied", "expired"])
def test_files_that_can_not_be_read_back(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], proxy: Proxy, what: str
) -> None:
    """Arrow reads them, and not boto3: its errors are none of the engine's."""
    proxy.some(what, "get", times=1_000, path=".parquet")
    bench = behind()
    error = bench.run().error
    if what == "denied":
        assert isinstance(error, LakeRefused)
        assert "s3:GetObject" in str(error)
    elif what == "expired":
        assert isinstance(error, LakeRefused)
        assert "the temporary credentials have expired: renew them" in str(error)
    else:
        assert isinstance(error, LakeUnavailable)
        assert "can't be read" in str(error)
    proxy.heal()
    ran = bench.run()
    assert ran.manifest.files
    assert ran.requests == 0, "all that was staged is still there"
    arrived(api, lake)


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize(
    ("record", "after"),
    [
        ("_manifests", 0),
        ("_checkpoints", 0),
        ("_checkpoints", 1),
        ("_checkpoints", 2),
        ("_checkpoints", 4),
    ],
    ids=["manifest", "trial of conditions", "begin", "batch", "decision"],
)
def test_a_conditional_put_whose_answer_is_lost(
    api: Emulator,
    lake: Lake,
    behind: Callable[..., Bench],
    proxy: Proxy,
    record: str,
    after: int,
    attempts: int,
) -> None:
    """It was written; sent again by boto3 it conflicts with itself. The engine looks, and knows."""
    proxy.some("lost", "put", path=record, after=after)
    ran = behind(attempts=attempts).run()
    assert proxy.broken["put"] == 1
    assert ran.outcome.results[0].outcome == "committed"
    assert ran.manifest.files
    arrived(api, lake)


def test_a_commit_of_which_nothing_can_be_known(
    api: Emulator, lake: Lake, behind: Callable[..., Bench], proxy: Proxy
) -> None:
    """Neither written nor refused, as far as anybody knows: the next run finds out."""
    bench = behind(attempts=1)
    assert bench.run().manifest.files
    old = {row["id"]: row["checksum"] for row in api.rows(ENDPOINT)}
    api.touch(ENDPOINT, count=20, updated_at=IN_DAY_S)
    proxy.fault = _after_the_first_put(proxy)
    error = bench.run().error
    assert isinstance(error, LakeUnavailable)
    proxy.heal()
    there = dataset(lake, "igdb", ENDPOINT).to_table(columns=["id", "checksum"]).to_pylist()
    new = {row["id"]: row["checksum"] for row in api.rows(ENDPOINT)}
    assert {row["id"]: row["checksum"] for row in there} in (old, new), "one of them, whole"
    bench.run()
    arrived(api, lake)


def _after_the_first_put(proxy: Proxy) -> Callable[[str, str], str | None]:
    begun = False

    def fault(operation: str, key: str) -> str | None:
        nonlocal begun
        begun = begun or (operation == "put" and f"_manifests/dt={DAY}" in key)
        return "lost" if begun else None

    return fault
