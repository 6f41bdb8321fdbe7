"""What an API does wrong, through the whole engine: 30,000 rows arrive, each once, or it is said.

Each fault falls on every few requests, with packing (10 pages a request) and without.
"""

import itertools
import threading
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from emulator.testing import Emulator, running
from local.ports import free_block
from pipeline.errors import ApiUnavailable, ContractBroken, RequestRefused, Unreachable
from pipeline.lake.s3 import Lake
from tests.faults.support import MANY, UNTIL, Bench, check_clean, check_rows, igdb

pytestmark = pytest.mark.slow

Rule = Mapping[str, object]
Rows = dict[int, list[dict[str, Any]]]
PAGES = {10: "/v4/multiquery", 1: "/v4/themes"}
EVERY = {10: 3, 1: 6}
"""Every so many requests the fault falls: often enough to fall a few times, never only."""
ENDPOINT = {10: "keywords", 1: "themes"}
"""30,000 rows in packs, 8,000 one by one: as many requests."""

ONE_BY_ONE: dict[str, Rule] = {
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "503 without Retry-After": {"kind": "status", "status": 503},
    "408": {"kind": "status", "status": 408},
    "dropped": {"kind": "drop"},
    "reset": {"kind": "reset"},
    "reset in the middle of a body": {"kind": "reset_mid_body"},
    "body cut, status 200": {"kind": "cut_body"},
    "JSON that ends early": {"kind": "cut_json"},
    "HTML with status 200": {"kind": "html_200"},
    "an error with status 200": {"kind": "error_200"},
    "an empty page in the middle": {"kind": "empty_page"},
    "a duplicated page": {"kind": "duplicate_page"},
    "a 401": {"kind": "token_401", "after": 2, "next": 1},
}


@pytest.fixture(scope="module")
def rows(emulator: Emulator) -> Rows:
    """The rows of the API, which no test here changes."""
    found = {pack: emulator.rows(name) for pack, name in ENDPOINT.items()}
    assert len(found[10]) == MANY
    return found


def bench_of(api: Emulator, lake: Lake, pack: int) -> Bench:
    return Bench(igdb(api, pack=pack, only=[ENDPOINT[pack]]), lake)


@pytest.mark.parametrize("pack", [10, 1])
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_each_fault_alone(api: Emulator, lake: Lake, rows: Rows, name: str, pack: int) -> None:
    fault = (
        ONE_BY_ONE[name]
        if "next" in ONE_BY_ONE[name]
        else {**ONE_BY_ONE[name], "every": EVERY[pack]}
    )
    api.faults({**fault, "path": PAGES[pack]})
    manifest = bench_of(api, lake, pack).run().manifest
    (shown,) = api.control("faults")["faults"]
    assert shown["fired"] >= (1 if "next" in fault else 2)
    assert manifest.proof.contiguous
    check_rows(lake, rows[pack], ENDPOINT[pack])
    check_clean(lake)


def test_an_answer_is_missing_in_a_pack(api: Emulator, lake: Lake, rows: Rows) -> None:
    api.faults({"kind": "missing_result", "path": "/v4/multiquery", "every": 3})
    assert Bench(igdb(api), lake).run().manifest.rows == MANY
    check_rows(lake, rows[10])


@pytest.mark.parametrize("every", [2, 3, 4])
@pytest.mark.parametrize("kind", ["duplicate_page", "empty_page"])
def test_packs_of_many_small_pages_mixed_up(
    api: Emulator, lake: Lake, rows: Rows, kind: str, every: int
) -> None:
    """Pages get the rows of others of their pack, or none: also those that are asked for by key."""
    api.faults({"kind": kind, "path": "/v4/multiquery", "every": every})
    source = igdb(api, only=["themes"], page_rows=200)
    assert Bench(source, lake).run().manifest.proof.contiguous
    check_rows(lake, rows[1], "themes")


@pytest.mark.parametrize("pack", [10, 1])
@pytest.mark.parametrize("says", ["nothing", "seconds", "a date"])
def test_too_many_requests(api: Emulator, lake: Lake, rows: Rows, says: str, pack: int) -> None:
    """Everybody waits as long as told; what the wait is for is no failure."""
    told = {"nothing": None, "seconds": "1", "a date": formatdate(time.time() + 2, usegmt=True)}
    fault = {"kind": "status", "status": 429, "retry_after": told[says], "path": PAGES[pack]}
    api.faults({**fault, "after": 2, "next": 2})
    sent: list[float] = []
    bench = bench_of(api, lake, pack)
    manifest = bench.run(before=lambda *_: sent.append(time.monotonic())).manifest
    assert manifest.throttled >= 2
    pauses = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert max(pauses) >= {"nothing": 0.04, "seconds": 0.7, "a date": 0.3}[says]
    check_rows(lake, rows[pack], ENDPOINT[pack])


def test_a_503_that_says_when_to_come_back_is_waited_for(
    api: Emulator, lake: Lake, rows: Rows
) -> None:
    api.faults({"kind": "status", "status": 503, "retry_after": "1", "after": 3, "next": 1})
    assert Bench(igdb(api), lake).run().manifest.throttled == 1
    check_rows(lake, rows[10])


@pytest.mark.parametrize("pack", [10, 1])
def test_a_body_that_stalls_is_given_up_and_asked_for_again(
    api: Emulator, lake: Lake, rows: Rows, pack: int
) -> None:
    api.faults({"kind": "stall", "path": PAGES[pack], "after": 1, "next": 2})
    bench = bench_of(api, lake, pack)
    short = bench.source.timeouts.model_copy(update={"read_s": 1.0})
    bench.source = bench.source.model_copy(update={"timeouts": short})
    assert bench.run().manifest.files
    assert api.control("faults")["faults"][0]["fired"] == 2
    check_rows(lake, rows[pack], ENDPOINT[pack])


def test_a_slow_api_is_waited_for(api: Emulator, lake: Lake, rows: Rows) -> None:
    api.faults({"kind": "latency", "latency_s": 0.3})
    ran = Bench(igdb(api), lake).run()
    assert ran.manifest.rows == MANY
    assert ran.requests <= 20
    check_rows(lake, rows[10])


@pytest.mark.parametrize("pack", [10, 1])
def test_a_token_that_expires_in_the_middle(
    api: Emulator, lake: Lake, rows: Rows, pack: int
) -> None:
    api.config(expires_in_s=1.0, latency_s=0.5 if pack == 1 else 0.4)
    before = api.stats()["tokens_minted"]
    assert bench_of(api, lake, pack).run().manifest.files
    assert 2 <= api.stats()["tokens_minted"] - before <= 8
    check_rows(lake, rows[pack], ENDPOINT[pack])


@pytest.mark.parametrize("pack", [10, 1])
def test_a_token_that_is_revoked_in_the_middle(
    api: Emulator, lake: Lake, rows: Rows, pack: int
) -> None:
    """All requests in flight learn it at once; one token is minted for all."""
    before = api.stats()["tokens_minted"]

    def revoke(number: int, _: object) -> None:
        if number == 4:
            api.revoke_tokens()

    assert bench_of(api, lake, pack).run(before=revoke).manifest.files
    assert api.stats()["tokens_minted"] - before == 2
    check_rows(lake, rows[pack], ENDPOINT[pack])


MIXED: list[Rule] = [
    fault if "next" in fault else {**fault, "probability": 0.03, "seed": seed}
    for seed, fault in enumerate(
        [
            *ONE_BY_ONE.values(),
            {"kind": "status", "status": 429},
            {"kind": "missing_result", "path": "/v4/multiquery"},
            {"kind": "latency", "latency_s": 0.05},
        ]
    )
]


@pytest.mark.parametrize("pack", [10, 1])
def test_all_of_them_mixed(api: Emulator, lake: Lake, rows: Rows, pack: int) -> None:
    """About every third request goes wrong in one way or another."""
    api.faults(*MIXED)
    assert bench_of(api, lake, pack).run().manifest.files
    assert sum(fault["fired"] for fault in api.control("faults")["faults"]) >= 5
    check_rows(lake, rows[pack], ENDPOINT[pack])
    check_clean(lake)


@pytest.mark.parametrize("pack", [10, 1])
def test_a_server_that_is_restarted(lake: Lake, pack: int) -> None:
    """Connections are refused for a while; afterwards the tokens of before are unknown."""
    (port,) = range(first := free_block(1), first + 1)
    options: dict[str, Any] = {"rate": 0, "in_flight": 0, "until": UNTIL, "port": port}
    options["rows"] = {"keywords": 6_000}
    down = threading.Event()
    up = threading.Event()

    def serve_first() -> None:
        with running(**options):
            up.set()
            down.wait()

    first_server = threading.Thread(target=serve_first)
    first_server.start()
    assert up.wait(60)
    refused: list[int] = []

    def stop(number: int, _: object) -> None:
        if number == 3:
            down.set()
            first_server.join()
        elif down.is_set():
            # The third request found nobody, so there is a try after it. Only then is
            # somebody there again: however fast a server starts, one request was refused.
            if not refused:
                threading.Thread(target=serve_again).start()
            refused.append(number)

    end = threading.Event()
    kept: list[Emulator] = []

    def serve_again() -> None:
        with running(**options) as again:
            kept.append(again)
            end.wait()

    with running(rows={"keywords": 1}, rate=0) as other:
        address = Emulator(0, port, other.client_id, other.client_secret)
        source = igdb(address, pack=pack, batch_rows=1_000)
        patient = source.retries.model_copy(
            update={"first_wait_s": 0.5, "max_wait_s": 1.0, "errors": 30}
        )
        breaker = source.breaker.model_copy(update={"failures": 100})
        source = source.model_copy(update={"retries": patient, "breaker": breaker})
        try:
            assert Bench(source, lake).run(before=stop).manifest.rows == 6_000
            assert refused
            check_rows(lake, kept[0].rows("keywords"))
        finally:
            end.set()
            address.close()


@pytest.mark.parametrize("pack", [10, 1])
@pytest.mark.parametrize(
    ("fault", "error", "sentence"),
    [
        (
            {"kind": "status", "status": 500},
            ApiUnavailable,
            "the API responded with 500, after 9 attempts",
        ),
        ({"kind": "html_200"}, ApiUnavailable, "the body is HTML or XML: 'Just a moment'"),
        (
            {"kind": "drop"},
            (ApiUnavailable, Unreachable),
            "closed the connection without a response",
        ),
        ({"kind": "status", "status": 403, "message": "No."}, RequestRefused, "status 403.*No"),
        ({"kind": "empty_page"}, ContractBroken, r"counts \d+ rows, but its first page is empty"),
    ],
)
def test_what_does_not_end_is_said_and_the_next_run_goes_on(
    api: Emulator,
    lake: Lake,
    rows: Rows,
    fault: Rule,
    error: type[Exception] | tuple[type[Exception], ...],
    sentence: str,
    pack: int,
) -> None:
    """The count is answered; from the first page on nothing is.

    In a batch the count rides with the first page, and nothing comes at all.
    """
    api.faults({**fault, "contains": "sort id"})
    source = bench_of(api, lake, pack).source
    breaker = source.breaker.model_copy(update={"failures": 1_000})
    source = source.model_copy(update={"breaker": breaker})
    ran = Bench(source, lake).run()
    with pytest.raises(error, match=sentence):
        raise ran.error
    api.clear_faults()
    assert Bench(source, lake).run().manifest.files
    check_rows(lake, rows[pack], ENDPOINT[pack])


@pytest.mark.parametrize("pack", [10, 1])
def test_a_bug_of_ours_is_raised_and_nobody_waits_for_ever(
    api: Emulator, lake: Lake, rows: Rows, pack: int
) -> None:
    def bug(number: int, _: object) -> None:
        if number >= 4:
            raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup) as raised:
        bench_of(api, lake, pack).run(before=bug)
    assert raised.value.subgroup(RuntimeError) is not None
    assert bench_of(api, lake, pack).run().manifest.files
    check_rows(lake, rows[pack], ENDPOINT[pack])


def test_a_bug_that_strikes_one_endpoint_leaves_the_others_alone(api: Emulator, lake: Lake) -> None:
    def bug(number: int, request: httpx.Request) -> None:
        if request.url.path.endswith("/genres"):
            raise RuntimeError("a bug")

    bench = Bench(igdb(api, only=["genres", "characters"], pack=1), lake)
    with pytest.raises(ExceptionGroup) as raised:
        bench.run(before=bug)
    [bare] = raised.value.exceptions
    assert isinstance(bare, RuntimeError)
    assert bare.__notes__ == ["while igdb/genres was materialized"]
    assert [receipt.endpoint for receipt in bench.done] == ["characters"]
    check_rows(lake, api.rows("characters"), "characters")
