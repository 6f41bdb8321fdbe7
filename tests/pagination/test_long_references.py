"""Tokens, links and Link headers of 100 kB: looked at once, and not for minutes."""

import signal
from collections.abc import Iterator
from types import FrameType

import pyarrow as pa
import pytest

from pipeline.errors import ContractBroken
from pipeline.pagination.link import followed, next_target
from pipeline.pagination.page import PageContent, link_is_number, token_is_number

LONG = 100_000
BASE = "https://api.test/v1"
CONTENT = PageContent(pa.table({}), {}, {}, url=BASE, base_url=BASE, secret_param="key", types={})


@pytest.fixture(autouse=True)
def not_for_minutes() -> Iterator[None]:
    """Quadratic work on 100 kB takes longer than a minute, and holds the loop."""

    def give_up(signum: int, frame: FrameType | None) -> None:
        raise AssertionError("still at it")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "text", ["a" + "-" * LONG, "a-" * LONG, "a" * LONG, "YWFh" * LONG, "a." * LONG]
)
def test_a_long_token_is_no_number(text: str) -> None:
    assert not token_is_number(text)


def test_a_number_in_disguise_is_seen_at_the_start_of_a_long_token() -> None:
    assert token_is_number("offset=3;" + " " * LONG)


@pytest.mark.parametrize("text", ["<" * LONG, "<>" * LONG, "<a>;" * LONG, '<a>; x="' + "\\" * LONG])
def test_a_long_link_header_without_a_next_one(text: str) -> None:
    assert next_target(text) is None


def test_a_long_link_is_followed() -> None:
    link = f"{BASE}/things?key=1&cursor={'a-' * 30_000}"
    found = followed(link, CONTENT)
    assert found == link.replace("key=1&", "")
    assert not link_is_number(found)


def test_a_link_that_no_request_can_carry_is_said() -> None:
    with pytest.raises(ContractBroken, match=r"link has 100,0\d\d characters"):
        followed(f"{BASE}/{'a' * LONG}", CONTENT)


@pytest.mark.parametrize("link", ["http://[::1", "http://a\u2100b/x", "https://me@api.test/v1"])
def test_a_link_that_is_no_url_is_said(link: str) -> None:
    with pytest.raises(ContractBroken, match=r"link is no URL"):
        followed(link, CONTENT)


def test_an_international_name_and_its_ascii_form_are_one_host() -> None:
    content = PageContent(
        pa.table({}), {}, {}, url="https://école.test", base_url="https://école.test",
        secret_param=None, types={},
    )  # fmt: skip
    link = "https://xn--cole-9oa.test:443/x"
    assert followed(link, content) == link
