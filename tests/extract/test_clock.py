"""The API's clock, as responses say it."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.extract.clock import clock_warning, margin_warning, server_time

AT = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
DATE = {"date": "Fri, 20 Nov 2026 12:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "found"),
    [(DATE, AT), ({}, None), ({"date": "soon"}, None), ({"date": "-1"}, None)],
)
def test_the_time_of_a_response(headers: dict[str, str], found: datetime | None) -> None:
    assert server_time(headers) == found


@pytest.mark.parametrize(
    ("sent_s", "received_s", "said"),
    [
        (-1, 1, None),
        (-300, 1, None),  # it waited for its send slot
        (0, 300, None),  # its body took long
        (5, 6, None),
        (6, 7, "6 s behind"),
        (-900, -600, "600 s ahead of"),
    ],
)
def test_clocks_that_differ(sent_s: int, received_s: int, said: str | None) -> None:
    sent, received = AT + timedelta(seconds=sent_s), AT + timedelta(seconds=received_s)
    sentence = clock_warning(DATE, sent, received)
    assert (said is None) == (sentence is None)
    assert said is None or said in str(sentence)
    assert clock_warning({**DATE, "age": "3600"}, sent, received) is None


def test_a_margin_that_clocks_and_replicas_use_up() -> None:
    assert "safety_margin_s to 900" in str(margin_warning(0))
    assert margin_warning(900) is None
