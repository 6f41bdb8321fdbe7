"""Pages by link: where the next URL is found, and which links are not followed."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import ContractBroken
from pipeline.pagination.link import LinkPaging, next_target
from pipeline.pagination.page import PageContent, link_is_number


@pytest.mark.parametrize(
    ("query", "numbered"),
    [
        ("page=2", True),
        ("page%5Bnumber%5D=2&size=5", True),
        ("limit=5&offset=10", True),
        ("startAt=50", True),
        ("page=2&after=Y3Vyc29y", False),
        ("page=eyJpZCI6MTB9", False),
        ("cursor=cD0x", False),
        ("since_id=100", False),
        ("", False),
    ],
)
def test_a_link_that_is_a_page_number_shows_it(query: str, numbered: bool) -> None:
    assert link_is_number(f"https://api.test/items?{query}") is numbered
    assert not link_is_number(None)


LINK = LinkPaging(limit=5)
BASE = "https://api.test/v1"


def following(header: str, secret_param: str | None = None) -> str | None:
    return LINK.url_of(content({"link": header}, secret_param=secret_param))


def content(
    headers: Mapping[str, str], url: object = None, secret_param: str | None = None
) -> PageContent:
    return PageContent(
        pa.table({}),
        {"url": url},
        headers,
        url=f"{BASE}/items?page=1&key=s3cret",
        base_url=BASE,
        secret_param=secret_param,
    )


@pytest.mark.parametrize(
    "header",
    [
        '<https://api.test/v1/items?page=2>; rel="next"',
        "<https://api.test/v1/items?page=2>;rel=next",
        '<https://api.test/v1/items?page=2> ; REL = "next"',
        '<https://api.test/v1/x>; rel="prev", <https://api.test/v1/items?page=2>; rel="next"',
        '<https://api.test/v1/items?page=2>; title="a, b; <c>"; rel="next"',
        '<https://api.test/v1/items?page=2>; rel="last next"; x',
        '<https://api.test/v1/items?page=9>; rel="next-archive", </v1/items?page=2>; rel="next"',
        '<https://API.test:443/v1/items?page=2>; rel="next"',
        '<?page=2>; rel="next"',
        '</x>; rel="previous"; results="false", </v1/items?page=2>; rel="next"; results="true"',
        '<https://api.test/v1/items?page=2>; title="a=b; \\"c"; rel="next"',
    ],
)
def test_the_next_link_of_a_header(header: str) -> None:
    url = following(header)
    assert url is not None
    assert url.lower().replace(":443", "") == "https://api.test/v1/items?page=2"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        '<https://api.test/v1/x>; rel="prev"',
        "<>; rel=next",
        '</v1/x>; rel="previous"; results="true", </v1/y>; rel="next"; results="false"; x',
    ],
)
def test_no_next_link_is_the_end(header: str) -> None:
    assert following(header) is None


@pytest.mark.parametrize(
    "target",
    ["https://evil.test/v1", "http://api.test/v1", "//evil.test/x", "https://api.test:8443/v1",
     "https://api.test@evil.test/", "ftp://api.test/v1", "https://api.test:port/v1"],
)  # fmt: skip
def test_a_link_to_another_host_is_refused(target: str) -> None:
    with pytest.raises(ContractBroken, match=r"not followed|no URL"):
        following(f'<{target}>; rel="next"')


def test_a_key_in_a_link_is_taken_out_since_positions_are_kept() -> None:
    url = following(
        '<https://api.test/v1/items?key=s3cret&cursor=a%2Bb%3D&k>; rel="next"', secret_param="key"
    )
    assert url == "https://api.test/v1/items?cursor=a%2Bb%3D&k"
    assert "s3cret" not in str(following("<#more>; rel=next", secret_param="key"))


def test_a_link_in_a_body() -> None:
    paging = LinkPaging(limit=5, next="paging.next")
    nothings: tuple[object, ...] = (None, "", False, 0, {})
    for nothing in nothings:
        assert paging.url_of(content({}, nothing)) is None
    assert paging.url_of(content({}, "/v1/items?p=2")) == f"{BASE}/items?p=2"


@pytest.mark.parametrize(
    "header",
    [
        "<" * 100_000,
        "<a>;" * 25_000,
        '<a>;x="' + "\\" * 100_000,
        '<a>;x="' * 14_000,
        "<a>; rel=prev, " * 6_600,
        "<a>" + ";" * 100_000,
        "<a>; rel=" + " " * 100_000,
    ],
)
def test_each_letter_of_a_header_is_read_a_few_times_at_most(header: str) -> None:
    reads = 0

    class Counted(str):
        def __getitem__(self, at: Any) -> str:
            nonlocal reads
            reads += 1 if isinstance(at, int) else len(range(*at.indices(len(self))))
            return super().__getitem__(at)

        def find(self, *given: Any) -> int:
            nonlocal reads
            found = super().find(*given)
            reads += (found if found >= 0 else len(self)) - given[1] + 1
            return found

    assert next_target(Counted(header)) is None
    assert reads <= 4 * len(header)


def test_a_url_with_a_semicolon_stays_whole() -> None:
    url = "https://api.test/v1;v=2/items?a=1;b=2"
    assert next_target(f"<{url}>; rel=next") == url
