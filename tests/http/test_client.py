"""Each way in which an API can fail, over a real socket: the outcome, the sends, the sentence."""

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.limits import RateHeadersConfig, ResponsesConfig, RetriesConfig, TimeoutsConfig
from pipeline.errors import (
    ApiUnavailable,
    AuthError,
    ContractBroken,
    HeadraceError,
    RateLimited,
    RequestRefused,
    Unreachable,
)
from pipeline.http import retry
from pipeline.http.classify import ResponseKind, classify
from pipeline.http.rate_limit_headers import odd_unit, quota_left, retry_after_s
from pipeline.http.retry import Breaker, BreakerState, FailureKind, RetryBudget
from pipeline.messages import RequestCounts
from tests.support.wire import (
    DROP,
    RESET,
    STALL,
    Answering,
    Wire,
    answer,
    client_of,
    http_date,
    read_json,
    serving,
    things,
    zipped,
)
from tests.support.yaml_sources import quick

GOOD = answer([{"id": 1}])


def fetched(
    answering: Answering, *, more: str = "", max_body: int | None = None, half_open: bool = False
) -> tuple[Any, Wire, RequestCounts]:
    """What one fetch came to: the rows or the error, what the server saw, what was counted."""

    async def run() -> tuple[Any, Wire, RequestCounts]:
        sent = RequestCounts()
        async with serving(answering) as wire:
            source = quick(wire.url, more=more)
            if max_body:
                limits = source.limits.model_copy(update={"max_body_mb": max_body / 2**20})
                source = source.model_copy(update={"limits": limits})
            async with client_of(source, half_open=half_open) as client:
                try:
                    found = await client.fetch(things(source), read_json, "api/things, page", sent)
                except HeadraceError as error:
                    found = error
                assert sent.requests == client.requests == len(wire.seen)
            return found, wire, sent

    return asyncio.run(asyncio.wait_for(run(), 20))


def at_first(bad: Any, times: int = 1) -> Answering:
    return lambda number, _: bad if number <= times else GOOD


CUT = (GOOD[:-5], DROP)
HTML = answer(raw=b"<html><title>Oops</title></html>", head="Content-Type: text/html")
MENDED: dict[str, Any] = {
    "500": answer(status=500),
    "502": answer(status=502),
    "503": answer(status=503),
    "408": answer(status=408),
    "drop": DROP,
    "reset": RESET,
    "reset mid body": (GOOD[:-5], RESET),
    "cut body": CUT,
    "stall": STALL,
    "stall mid body": (GOOD[:-5], STALL),
    "HTML with 200": HTML,
    "JSON that ends early": answer(raw=b'[{"id": 1}, {"id"'),
    "no gzip": answer(raw=b"[]", head="Content-Encoding: gzip"),
    "half a gzip": answer(raw=zipped(b"[" + b"1," * 999 + b"1]").split(b"\r\n\r\n")[1][:16],
                          head="Content-Encoding: gzip"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "throttled": answer(status=429),
    "throttled, seconds": answer(status=429, head="Retry-After: 0.01"),
    "throttled, date": answer(status=429, head=f"Retry-After: {http_date(datetime.now(UTC))}"),
    "throttled, nonsense": answer(status=429, head="Retry-After: soon"),
    "busy": answer(status=503, head="Retry-After: 0"),
    "403 and a wait": answer(status=403, head="Retry-After: 0"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", MENDED)
def test_what_a_second_try_mends(kind: str) -> None:
    found, wire, sent = fetched(at_first(MENDED[kind]))
    assert found == [{"id": 1}]
    assert len(wire.seen) == 2
    throttled = kind.startswith(("throttled", "busy", "403"))
    assert (sent.throttled, sent.retried) == ((1, 0) if throttled else (0, 1))


DOWN = "The API at 127.0.0.1 seems to be down or unreachable (breaker closed)."
UNREADABLE = "The API at 127.0.0.1 responds, but with nothing that can be read (breaker closed)."
LASTING: dict[str, tuple[Any, int, str]] = {
    "500": (answer(status=500), 4, f"the API responded with 500, after 4 attempts. {DOWN}"),
    "cut body": (
        CUT,
        4,
        "the response of the API is cut short, after 6 of 11 bytes, after 4 attempts. "
        f"{UNREADABLE}",
    ),
    "429": (
        answer(status=429),
        5,
        "the API responded with 429 (too many requests), after 5 attempts. The API at 127.0.0.1 "
        "still refuses requests as too many (breaker closed). Check: 1. `limits.windows`, which "
        "may allow more than the API does; 2. who else uses the API key.",
    ),
}


@pytest.mark.parametrize("kind", LASTING)
def test_what_lasts_ends_after_a_bounded_number_of_attempts(kind: str) -> None:
    bad, sends, said = LASTING[kind]
    found, wire, _ = fetched(lambda *_: bad)
    assert isinstance(found, ApiUnavailable)
    assert len(wire.seen) == sends
    assert str(found) == f"api/things, page: {said}"
    assert found.wait_s == 30


def test_kinds_of_failure_have_bounds_of_their_own() -> None:
    sick = [answer(status=500)] * 3 + [STALL] * 2 + [answer(status=429)] * 4
    found, wire, _ = fetched(lambda number, _: sick[number - 1] if number <= 9 else GOOD)
    assert found == [{"id": 1}]
    assert len(wire.seen) == 10


def test_the_waits_of_a_run_are_bounded_in_sum() -> None:
    def drawn(total_s: float) -> float | None:
        policy = RetriesConfig(total_s=total_s, first_wait_s=4.0, max_wait_s=8.0)
        return retry.wait_s(FailureKind.ERROR, 3, RetryBudget(waited_s=10.0), policy, lambda: 1.0)

    assert drawn(100.0) == 8.0, "capped"
    assert drawn(17.0) is None
    policy = RetriesConfig(errors=2, throttled=1)
    waits = [
        retry.wait_s(FailureKind.ERROR, n, RetryBudget(), policy, lambda: 0.0) for n in (1, 2, 3)
    ]
    assert waits == [0.25, 0.5, None]
    assert (
        retry.wait_s(FailureKind.THROTTLED, 1, RetryBudget(waited_s=1e9), policy, lambda: 0.0)
        == 0.0
    )
    assert retry.wait_s(FailureKind.THROTTLED, 2, RetryBudget(), policy, lambda: 0.0) is None


def test_a_host_without_a_server_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        async def run() -> None:
            source = quick(url)
            async with client_of(source) as client:
                await client.fetch(things(source), read_json, "api/things, page", RequestCounts())

        with pytest.raises(Unreachable, match=r"no connection to 127\.0\.0\.1:\d+ \(") as caught:
            asyncio.run(run())
    assert "after 4 attempts. The API at 127.0.0.1 has not responded once" in str(caught.value)


IGDB_400 = answer(
    [{"title": "Syntax Error", "status": 400, "cause": "Missing `;` at end of query"}], status=400
)
REFUSED: dict[str, tuple[Any, type[Exception], list[str]]] = {
    "400": (IGDB_400, RequestRefused, ["status 400", "Syntax Error", "Missing `;` at end"]),
    "403": (answer({"message": "no plan"}, 403), RequestRefused, ["status 403", "no plan"]),
    "404": (answer(status=404, head="message: Invalid apiKey"), RequestRefused, ["Invalid apiKey"]),
    "empty 404": (answer(status=404, raw=b""), RequestRefused, ["the request with status 404"]),
    "binary 400": (answer(status=400, raw=b"\xff\x00\n" * 900), RequestRefused, ["status 400"]),
    "401": (answer({"message": "who?"}, 401), AuthError, ["refused the credentials (401)", "who?"]),
    "redirect": (answer(status=302, head="Location: https://evil.test/x"), ContractBroken,
                 ["redirects (302)", "not follow", "`base_url` and `path` to the new address"]),
    "slash": (answer(status=308, head="Location: /things/?a=b"), ContractBroken,
              ["redirects (308)", "to the new address, which ends with a slash"]),
    "login": (answer(status=302, head="Location: https://id.test/login?next=%2Fthings"),
              ContractBroken, ["another address: `https://id.test/login`", "1. the credentials"]),
    "nowhere": (answer(status=302), ContractBroken, ["to another address. ", "Check `base_url`"]),
    "403 of a quota": (answer(status=403, head="X-RateLimit-Remaining: 0"), RequestRefused,
                       ["`limits: {headers: {remaining: x-ratelimit-remaining, reset: x-"]),
    "403 of a limit": (answer({"message": "API rate limit exceeded"}, 403), RequestRefused,
                       ["too many requests: `answers: {throttled_text: rate limit exceeded}`"]),
    "420": (answer(status=420), RequestRefused, ["`answers: {throttled: [420]}`"]),
    "423": (answer(status=423), RequestRefused, ["`answers: {retry: [423]}`"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_is_for_good_and_says_what_the_api_said(kind: str) -> None:
    bad, error, parts = REFUSED[kind]
    found, wire, _ = fetched(lambda *_: bad)
    assert type(found) is error
    assert len(wire.seen) == 1
    assert str(found).startswith("api/things, page: ")
    for part in parts:
        assert part in str(found)
    assert "\n" not in str(found)
    assert len(str(found)) < 500


def test_a_refusal_that_passes_by_itself_is_waited_for_where_the_yaml_says_so() -> None:
    """The remedy of its refusal, followed."""
    found, wire, _ = fetched(at_first(answer(status=423)), more="answers: {retry: [423]}")
    assert (found, len(wire.seen)) == ([{"id": 1}], 2)


def test_an_answer_that_is_too_large_is_refused_also_if_it_is_a_bomb() -> None:
    for big in (answer(raw=b"[" + b"1," * 60_000 + b"1]"), zipped(b" " * 5_000_000)):
        found, wire, _ = fetched(lambda *_, big=big: big, max_body=100_000)
        assert isinstance(found, ContractBroken)
        assert "larger than 100,000 bytes. Set fewer rows a page (`paging.limit`)" in str(found)
        assert len(wire.seen) == 1
    found, _, _ = fetched(lambda *_: zipped(b"[" + b"1," * 40_000 + b"1]"), max_body=100_000)
    assert len(found) == 40_001


def test_answers_that_mean_no_rows() -> None:
    found, _, _ = fetched(lambda *_: answer(status=204, raw=b""))
    assert found == []
    found, _, _ = fetched(lambda *_: answer(status=404, raw=b""), more="answers: {empty: [404]}")
    assert found == []


def many(
    answering: Answering, count: int, failures: int, half_open: bool = False
) -> tuple[list[Any], Wire, str]:
    async def run() -> tuple[list[Any], Wire, str]:
        async with serving(answering) as wire:
            source = quick(wire.url, more=f"breaker: {{failures: {failures}, open_s: 7}}")
            async with client_of(source, half_open=half_open) as client:
                fetches = [
                    client.fetch(things(source), read_json, "page", RequestCounts())
                    for _ in range(count)
                ]
                found = await asyncio.gather(*fetches, return_exceptions=True)
                return list(found), wire, client.breaker_state

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_the_breaker_opens_over_all_requests() -> None:
    found, wire, state = many(lambda *_: answer(status=500), 60, failures=10)
    assert state == "open"
    assert all(isinstance(error, ApiUnavailable) for error in found)
    assert {error.wait_s for error in found} == {7}
    assert len(wire.seen) <= 60, "each in flight once, and none again"
    assert "breaker open" in str(found[-1])


def test_a_refusal_is_no_sign_of_an_api_that_is_down() -> None:
    for well in (404, 429):

        def by_turns(number: int, _: object, well: int = well) -> bytes:
            return answer(status=well if number % 3 == 0 else 500)

        _, _, state = many(by_turns, 1, failures=3)
        assert state == "closed"


def test_half_open_lets_one_request_through() -> None:
    found, wire, state = many(lambda *_: answer(status=500), 30, failures=10, half_open=True)
    assert (len(wire.seen), state) == (1, "open")
    assert all(isinstance(error, ApiUnavailable) for error in found)

    def alone_at_first(number: int, _: object) -> bytes:
        if number == 1:
            assert wires[0].open == 1
        return GOOD

    wires: list[Wire] = []

    async def run() -> None:
        async with serving(alone_at_first) as wire:
            wires.append(wire)
            source = quick(wire.url)
            async with client_of(source, half_open=True) as client:
                fetches = [
                    client.fetch(things(source), read_json, "p", RequestCounts()) for _ in range(9)
                ]
                assert await asyncio.gather(*fetches) == [[{"id": 1}]] * 9
                assert client.breaker_state == "closed"

    asyncio.run(run())


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5), st.booleans())
def test_the_breaker_s_table(answers: list[bool], most: int, half_open: bool) -> None:
    breaker = Breaker(most, BreakerState.HALF_OPEN if half_open else BreakerState.CLOSED)
    row, opened = 0, False
    for good in answers:
        opened = opened or (
            not good and (row + 1 >= most or breaker.state is BreakerState.HALF_OPEN)
        )
        row = 0 if good else row + 1
        breaker = breaker.succeeded() if good else breaker.failed()
        assert (breaker.state is BreakerState.OPEN) == opened


NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("-3", None),
        ("7200", 7200.0),
        ("999999", 86_400.0),
        ("inf", 86_400.0),
        ("nan", None),
        ("", None),
        ("soon", None),
        (http_date(NOW + timedelta(seconds=90)), 91.0),
        (http_date(NOW - timedelta(days=1)), None),
        ("Thu, 05 Nov 2026 13:01:30 +0100", 91.0),
        ("2026-11-05T12:01:30.5Z", 90.5),
        (f"{NOW.timestamp() + 90:.0f}", 91.0),
        ("17s", 17.0),
        ("1m30s", 90.0),
        ("1.5 minutes", 90.0),
        ("250ms", 0.25),
        ("PT1M30S", 90.0),
        ("P", None),
        ("5;comment=x", 5.0),
        ("Thu, 99 Nov 2026 13:01:30 GMT", None),
    ],
)
def test_retry_after(text: str, wait_s: float | None) -> None:
    assert retry_after_s({"retry-after": text}, lambda: NOW) == wait_s


@pytest.mark.parametrize(
    ("precise", "whole", "wait_s"),
    [
        ("1500", None, 1.5),
        ("1500", "2", 1.5),
        ("1500", "1", 1.5),
        ("200", "0", 0.2),
        ("0", "2", 2.0),
        ("soon", "2", 2.0),
        ("2", "30", 30.0),
        ("30000", "2", 30.0),
        ("999999999", None, 86_400.0),
        (f"{NOW.timestamp() * 1000 + 1500:.0f}", None, 1.5),
    ],
)
@pytest.mark.parametrize("name", ["retry-after-ms", "x-ms-retry-after-ms"])
def test_retry_after_in_milliseconds(
    name: str, precise: str, whole: str | None, wait_s: float
) -> None:
    headers = {name: precise} | ({} if whole is None else {"retry-after": whole})
    assert retry_after_s(headers, lambda: NOW) == pytest.approx(wait_s)


@given(st.text(max_size=40), st.text(max_size=20))
def test_headers_of_any_kind_are_survived(first: str, second: str) -> None:
    headers = {"retry-after": first, "x-ratelimit-remaining": first, "x-ratelimit-reset": second}
    wait_s = retry_after_s(headers, lambda: NOW)
    assert wait_s is None or 0 <= wait_s <= 86_400
    left, reset_s = quota_left(headers, RateHeadersConfig(), lambda: NOW)
    assert left is None or isinstance(left, int)
    assert reset_s is None or reset_s >= 0


def test_what_is_left_of_a_quota() -> None:
    told = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 30)}
    assert quota_left(told, RateHeadersConfig(), lambda: NOW) == (0, 30.0)
    assert quota_left(told, None, lambda: NOW) == (None, None)
    odd = {"x-ratelimit-remaining": "inf", "x-ratelimit-reset": "nan"}
    assert quota_left(odd, RateHeadersConfig(), lambda: NOW) == (None, None)


@pytest.mark.parametrize("said", ["epoch_s", "seconds"])
@pytest.mark.parametrize(
    ("unit", "reset"),
    [
        ("seconds", "30"),
        ("epoch_s", f"{NOW.timestamp() + 30:.0f}"),
        ("epoch_ms", f"{1000 * (NOW.timestamp() + 30):.0f}"),
    ],
)
def test_a_reset_is_in_the_unit_that_its_size_tells(said: str, unit: str, reset: str) -> None:
    headers, rate = {"x-ratelimit-reset": reset}, RateHeadersConfig(reset_is=said)
    assert quota_left(headers, rate, lambda: NOW) == (None, 30.0)
    odd = odd_unit(headers, rate)
    assert odd is None if said == unit else odd and f"read as {unit}" in odd
    assert odd_unit({"x-ratelimit-reset": "0"}, rate) is None
    assert odd_unit({}, rate) is None


def test_a_reset_in_another_unit_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    head = "x-ratelimit-remaining: 5\nx-ratelimit-reset: 30"

    async def run() -> None:
        async with serving(lambda *_: answer([{"id": 1}], head=head)) as wire:
            source = quick(wire.url)
            limits = source.limits.model_copy(update={"headers": RateHeadersConfig()})
            source = source.model_copy(update={"limits": limits})
            async with client_of(source) as client:
                for _ in range(2):
                    await client.fetch(
                        things(source), read_json, "api/things, page", RequestCounts()
                    )

    asyncio.run(run())
    assert caplog.text.count("; read as seconds") == 1


def test_a_wait_of_hours_ends_the_request_with_that_wait(caplog: pytest.LogCaptureFixture) -> None:
    found, wire, sent = fetched(lambda *_: answer([], 429, head="Retry-After: 7200"))
    assert type(found) is RateLimited
    assert found.wait_s == pytest.approx(7200, abs=5)
    assert "the API asks all processes of this budget to pause until" in str(found)
    assert (len(wire.seen), sent.throttled) == (1, 1)
    assert caplog.text.count("(Retry-After 7200 s)") == 1


@pytest.mark.parametrize(
    ("status", "headers", "meaning"),
    [
        (200, {}, ResponseKind.OK),
        (204, {}, ResponseKind.EMPTY),
        (304, {}, ResponseKind.NOT_MODIFIED),
        (302, {}, ResponseKind.PERMANENT),
        (400, {}, ResponseKind.PERMANENT),
        (401, {}, ResponseKind.AUTH),
        (403, {}, ResponseKind.PERMANENT),
        (403, {"x-ratelimit-remaining": "0"}, ResponseKind.THROTTLED),
        (403, {"x-ratelimit-remaining": "1"}, ResponseKind.PERMANENT),
        (408, {}, ResponseKind.RETRY),
        (425, {}, ResponseKind.RETRY),
        (429, {}, ResponseKind.THROTTLED),
        (503, {}, ResponseKind.RETRY),
        (503, {"retry-after": "1"}, ResponseKind.THROTTLED),
        (503, {"retry-after-ms": "900"}, ResponseKind.THROTTLED),
        (599, {}, ResponseKind.RETRY),
    ],
)
def test_the_table_of_answers(status: int, headers: dict[str, str], meaning: ResponseKind) -> None:
    assert classify(status, headers, ResponsesConfig(), RateHeadersConfig()) is meaning


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (403, b'{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}', ResponseKind.THROTTLED),
        (403, b'[{"errorCode": "REQUEST_LIMIT_EXCEEDED"}]', ResponseKind.THROTTLED),
        (400, b'{"__type": "com.aws#ThrottlingException"}', ResponseKind.THROTTLED),
        (503, b'{"code": "SlowDown"}', ResponseKind.THROTTLED),
        (403, b'{"error": {"errors": [{"reason": "insufficientScope"}]}}', ResponseKind.PERMANENT),
        (403, b'{"filter": {"code": "THROTTLED"}}', ResponseKind.PERMANENT),
        (401, b'{"message": "rate limit exceeded"}', ResponseKind.AUTH),
    ],
)
def test_the_code_of_a_refusal(status: int, body: bytes, meaning: ResponseKind) -> None:
    assert classify(status, {}, ResponsesConfig(), None, body) is meaning


def test_a_source_s_own_word_on_a_status_wins() -> None:
    answers = ResponsesConfig(empty=(404,), throttled=(403,), retry=(409,), permanent=(501, 429))
    meanings = [classify(s, {}, answers, None) for s in (404, 403, 409, 501, 429)]
    assert meanings == [
        ResponseKind.EMPTY,
        ResponseKind.THROTTLED,
        ResponseKind.RETRY,
        ResponseKind.PERMANENT,
        ResponseKind.PERMANENT,
    ]


def test_bodies_go_out_as_they_are() -> None:
    bodies: list[bytes] = []

    def keep(_: int, seen: Any) -> bytes:
        bodies.append(seen.body)
        return answer(json.loads(seen.body))

    async def run() -> None:
        async with serving(keep) as wire:
            source = quick(wire.url)
            async with client_of(source) as client:
                request = things(source)
                body = json.dumps({"name": "Ōkami"}, ensure_ascii=False).encode()
                sent = type(request)("POST", request.url, content=body)
                assert await client.fetch(sent, read_json, "page", RequestCounts()) == {
                    "name": "Ōkami"
                }

    asyncio.run(run())
    assert bodies == ['{"name": "Ōkami"}'.encode()]


@pytest.mark.parametrize("url", ["ftp://api.test", "http://[::bad"])
def test_an_address_that_is_none(url: str) -> None:
    async def run() -> None:
        source = quick("http://127.0.0.1:9")
        async with client_of(source) as client:
            request = type(things(source))("GET", url)
            await client.fetch(request, read_json, "page", RequestCounts())

    with pytest.raises(ContractBroken, match="is no URL"):
        asyncio.run(run())


def test_a_host_that_never_answers_is_given_up_soon(caplog: pytest.LogCaptureFixture) -> None:
    """Two attempts; once it has responded, it gets as many as its YAML says."""
    silent = True

    def answering(number: int, seen: Any) -> bytes:
        return STALL if silent or number > 3 else answer([])

    async def run() -> None:
        nonlocal silent
        async with serving(answering) as wire:
            source = quick(wire.url)
            patient = source.retries.model_copy(update={"timeouts": 4})
            short = source.timeouts.model_copy(update={"read_s": 0.1})
            source = source.model_copy(update={"retries": patient, "timeouts": short})
            async with client_of(source) as client:
                with pytest.raises(Unreachable, match="no response in time, after 2 attempts"):
                    await client.fetch(things(source), read_json, "page", RequestCounts())
                assert len(wire.seen) == 2
                assert (
                    "page: no response in time, and no response yet in this run; retrying"
                    in caplog.text
                )
                silent = False
                assert await client.fetch(things(source), read_json, "page", RequestCounts()) == []
                with pytest.raises(ApiUnavailable, match="after 5 attempts"):
                    await client.fetch(things(source), read_json, "page", RequestCounts())
                assert len(wire.seen) == 3 + 5

    asyncio.run(run())


def test_by_default_a_silent_host_is_a_sentence_within_about_a_minute() -> None:
    policy, timeouts = RetriesConfig(), TimeoutsConfig()
    waits = [
        retry.wait_s(FailureKind.TIMEOUT, tries, RetryBudget(), policy, lambda: 1.0)
        for tries in (1, 2)
    ]
    assert waits[1] is None
    assert 2 * timeouts.read_s + (waits[0] or 0.0) <= 65
