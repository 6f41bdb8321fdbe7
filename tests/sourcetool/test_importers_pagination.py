"""Paginators of a manifest: the pages, and their ends."""

import pytest

from tests.sourcetool.manifests import (
    LINK,
    Data,
    endpoint,
    made,
    option,
    pages,
    stream,
)

PAGING: list[tuple[Data, Data, Data]] = [
    (
        pages({"type": "OffsetIncrement", "page_size": 50}, option("skip"), option("take")),
        {"kind": "offset", "limit": 50, "overlap": False},
        {"take": "{limit}", "skip": "{offset}"},
    ),
    (
        pages({"type": "PageIncrement", "page_size": 9, "start_from_page": 1}, option("p")),
        {"kind": "page", "limit": 9, "first": 1},
        {"p": "{page}"},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "page_size": 9,
                "cursor_value": "{{ response.get('meta', {}).get('next') }}",
                "stop_condition": "{{ not response.get('meta', {}).get('more') }}",
            },
            option("t"),
        ),
        {"kind": "token", "limit": 9, "next": "meta.next", "more": "meta.more"},
        {"t": "{token}"},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "page_size": 9,
                "cursor_value": "{{ response['@odata.nextLink'] }}",
                "stop_condition": "{{ '@odata.nextLink' not in response }}",
            },
            LINK,
        ),
        {"kind": "link", "limit": 9, "next": "@odata\\.nextLink"},
        {},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "page_size": 9,
                "cursor_value": "{{ headers['link']['next']['url'] }}",
                "stop_condition": "{{ 'next' not in headers['link'] }}",
            },
            LINK,
        ),
        {"kind": "link", "limit": 9},
        {},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "page_size": 9,
                "cursor_value": "{{ headers['link'].get('next', {}).get('cursor', {}) }}",
                "stop_condition": "{{ headers['link']['next']['results'] == 'false' }}",
            },
            option("cursor"),
        ),
        {"kind": "link", "limit": 9, "until_short": True},
        {},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "page_size": 9,
                "cursor_value": "{{ last_record['id'] }}",
                "stop_condition": "{{ last_page_size == 0 }}",
            },
            option("after"),
        ),
        {"kind": "token", "limit": 9, "last": "id", "until_short": True},
        {"after": "{token}"},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "page_size": 9,
                "cursor_value": "{{ response.page | int + 1 }}",
                "stop_condition": "{{ response.page == response.pages }}",
            },
            option("page"),
        ),
        {"kind": "page", "limit": 9, "first": 1},
        {"page": "{page}"},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "page_size": 9,
                "cursor_value": "{{ response['at']['current'] + 1 }}",
                "stop_condition": "{{ 'current' not in response['at'] }}",
            },
            option("page"),
        ),
        {"kind": "page", "limit": 9, "first": 1},
        {"page": "{page}"},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "page_size": 9,
                "cursor_value": "{{ response.get('at') + response['size'] }}",
                "stop_condition": "{{ response.get('last') or "
                "response.get('at') + response.get('size') >= response.get('total') }}",
            },
            option("at"),
            option("size"),
        ),
        {
            "kind": "offset",
            "limit": 9,
            "overlap": False,
            "more": "!last",
            "total": "total",
        },
        {"at": "{offset}", "size": "{limit}"},
    ),
    (
        pages(
            {
                "type": "CursorPagination",
                "cursor_value": "{{ response.next }}",
                "stop_condition": "{{ response.get('end_of_stream') }}",
                "page_size": 9,
            },
            LINK,
        ),
        {"kind": "link", "limit": 9, "next": "next", "more": "!end_of_stream"},
        {},
    ),
    *(
        (
            pages(
                {
                    "type": "CursorPagination",
                    "cursor_value": "{{ response.next }}",
                    "stop_condition": f"{{{{ {end} }}}}",
                    "page_size": 9,
                },
                LINK,
            ),
            {"kind": "link", "limit": 9, "next": "next", "until_short": True},
            {},
        )
        for end in ("last_page_size == 0", "last_page_size < 9", "not last_record")
    ),
]


@pytest.mark.parametrize(("paginator", "paging", "params"), PAGING)
def test_pages(paginator: Data, paging: Data, params: Data) -> None:
    found = endpoint(stream(paginator=paginator))
    assert found["paging"] == paging
    assert found.get("request", {}).get("params", {}) == params


@pytest.mark.parametrize(
    ("condition", "more", "said"),
    [
        ("response.more", "more", False),
        ("response.more and response.next", "more", False),
        ("response.next", None, False),
        ("last_record", None, False),
        ("response.state == 'partial'", None, True),
    ],
)
def test_a_condition_of_the_next_page(condition: str, more: str | None, said: bool) -> None:
    value = f"{{{{ response.next if {condition} else none }}}}"
    paginator = pages({"type": "CursorPagination", "cursor_value": value}, option("t"))
    found = made(stream(paginator=paginator))
    assert found.data["endpoints"]["things"]["paging"].get("more") == more
    assert any("condition is left out" in doubt for doubt in found.doubts["things"]) == said


FIRST, OTHER = "response.get('next_uri')", "response.get('meta', {}).get('next')"
BOTH = ["next_uri", "meta.next"]


@pytest.mark.parametrize(
    ("value", "end", "paging"),
    [
        (f"{FIRST} or {OTHER}", "", {"next": BOTH}),
        (f"{FIRST} or {OTHER} or ''", f"not ({FIRST} or {OTHER})", {"next": BOTH}),
        (f"{FIRST} if {FIRST} else {OTHER}", f"not {FIRST} and not {OTHER}", {"next": BOTH}),
        (f"{FIRST} if 'next_uri' in response else {OTHER}", "", {"next": BOTH}),
        (f"{FIRST} if {FIRST} is defined else {OTHER}", "", {"next": BOTH}),
        ("response.get('next_uri', response.meta.next)", "", {"next": BOTH}),
        (f"{FIRST} or {OTHER}", "not last_record", {"next": BOTH, "until_short": True}),
        (f"{FIRST} or {OTHER}", "not response.more", {"next": BOTH, "more": "more"}),
        (f"{FIRST} or {OTHER}", f"not {OTHER}", {"next": "meta.next"}),
    ],
)
def test_a_next_page_at_one_place_or_another(value: str, end: str, paging: Data) -> None:
    strategy = {"type": "CursorPagination", "cursor_value": f"{{{{ {value} }}}}"}
    strategy |= {"stop_condition": f"{{{{ {end} }}}}"} if end else {}
    for option_of, kind in ((LINK, "link"), (option("t"), "token")):
        found = endpoint(stream(paginator=pages(strategy, option_of)))
        assert found["paging"] == {"kind": kind, "limit": 100, **paging}


@pytest.mark.parametrize(
    ("value", "end", "ability"),
    [
        (f"{FIRST} or {OTHER}", f"not {FIRST} or not {OTHER}", "paging_stop"),
        (f"{FIRST} or response.page + 1", "", "paging_computed"),
        (f"{FIRST} if {OTHER} else {OTHER}", "", "paging_computed"),
        ("response.get('next_uri', 7)", "", "paging_computed"),
    ],
)
def test_a_next_page_that_more_than_its_place_decides(value: str, end: str, ability: str) -> None:
    strategy = {"type": "CursorPagination", "cursor_value": f"{{{{ {value} }}}}"}
    strategy |= {"stop_condition": f"{{{{ {end} }}}}"} if end else {}
    found = made(stream(paginator=pages(strategy, option("t"))))
    assert ability in [need.ability for need in found.left_out["things"]]


def test_an_offset_that_stands_in_a_text_and_counts_from_one() -> None:
    query = "all FROM {{ (next_page_token.next_page_token or 0) + 1 }} MAX 50"
    paginator = pages({"type": "OffsetIncrement", "page_size": 50})
    found = endpoint(stream(request_parameters={"q": query}, paginator=paginator))
    assert found["request"]["params"] == {"q": "all FROM {offset} MAX 50"}
    assert found["paging"] == {"kind": "offset", "limit": 50, "overlap": False, "first": 1}


@pytest.mark.parametrize(
    ("end", "more"),
    [
        ("response.data.next == 'null'", {"at": "data.next", "ended": "null"}),
        ("-1 == response.data.next", {"at": "data.next", "ended": -1}),
        ("response.state == 'done'", {"at": "state", "ended": "done"}),
        ("response.state == 1", {"at": "state", "ended": 1}),
        ("response.last == true", "!last"),
    ],
)
def test_a_value_that_means_the_end(end: str, more: Data | str) -> None:
    strategy = {
        "type": "CursorPagination",
        "cursor_value": "{{ response.data.next }}",
        "stop_condition": f"{{{{ {end} }}}}",
    }
    paging = endpoint(stream(paginator=pages(strategy, option("after"))))["paging"]
    assert (paging["next"], paging["more"]) == ("data.next", more)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("response.page >= response.pages", True),
        ("response.rows | length < 5", True),
        ("not response.more", False),
        ("not response.rows", False),
    ],
)
def test_an_end_of_numbers_that_is_left_out_is_a_doubt(end: str, said: bool) -> None:
    strategy = {
        "type": "CursorPagination",
        "cursor_value": "{{ response.page + 1 }}",
        "stop_condition": f"{{{{ {end} }}}}",
    }
    doubts = made(stream(paginator=pages(strategy, option("page")))).doubts["things"]
    assert any("stop_condition is left out" in doubt for doubt in doubts) is said


@pytest.mark.parametrize(
    ("member", "paging"), [("nextPageToken", {"next": "nextPageToken"}), ("at", {"last": "at"})]
)
def test_a_token_that_rows_do_not_have_is_the_responses(member: str, paging: Data) -> None:
    strategy = {"type": "CursorPagination", "cursor_value": f"{{{{ last_record['{member}'] }}}}"}
    found = endpoint(stream(paginator=pages(strategy, option("after"))))["paging"]
    assert paging.items() <= found.items()
