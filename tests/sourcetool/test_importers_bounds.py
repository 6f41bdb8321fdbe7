"""The bounds of a manifest's window in its requests, and the state of its cursor."""

import pytest

from tests.sourcetool.manifests import (
    endpoint,
    made,
    option,
    pages,
    stream,
    window,
)

FEED = {"start_time_option": None, "end_time_option": None, "step": "P30D"}


SINCE = "config['since']"


NOT_BEYOND = "(stream_state.changed if stream_state.changed < now_utc() else now_utc())"


ISO = "%Y-%m-%dT%H:%M:%SZ"


DAY = "%Y-%m-%d"


@pytest.mark.parametrize(
    ("jinja", "sent", "floor", "format"),
    [
        ("{{ stream_state['changed'] }}", "{start}", None, ISO),
        ("{{ stream_state.changed if stream_state else '' }}", "{start}", None, ISO),
        (f"{{{{ stream_state.get('changed', {SINCE}) }}}}", "{start}", "${SHOP_SINCE}", ISO),
        (f"{{{{ stream_state.changed or {SINCE} }}}}", "{start}", "${SHOP_SINCE}", ISO),
        (
            f"{{{{ format_datetime(({SINCE} if stream_state['changed'] is not defined else "
            f"{NOT_BEYOND}), '{DAY}') }}}}",
            "{start}",
            "${SHOP_SINCE}",
            DAY,
        ),
        ("changed > '{{ stream_state.changed }}'", "changed > '{start}'", "${SHOP_SINCE}", ISO),
    ],
)
def test_the_state_of_the_cursor_is_where_the_window_starts(
    jinja: str, sent: str, floor: str | None, format: str
) -> None:
    found = endpoint(stream(request_parameters={"q": jinja}, incremental_sync=window(**FEED)))
    assert found["request"]["params"] == {"q": sent}
    assert (found["window"].get("floor"), found["window"]["format"]) == (floor, format)
    assert found["window"]["end"] == "none"
    assert "max_s" not in found["window"]


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ stream_state.id }}",
        f"{{{{ stream_state.changed if stream_state.id else {SINCE} }}}}",
        f"{{{{ {SINCE} if stream_state.changed > {SINCE} else stream_state.changed }}}}",
        f"{{{{ {NOT_BEYOND.replace('<', '>')} }}}}",
    ],
)
def test_a_state_that_is_more_than_the_cursors_is_left_out(jinja: str) -> None:
    found = made(stream(request_parameters={"q": jinja}, incremental_sync=window(**FEED)))
    assert {need.ability for need in found.left_out["things"]} == {"state"}


def test_a_state_in_a_path_is_no_lower_bound() -> None:
    found = made(stream(path="on/{{ stream_state.changed }}", incremental_sync=window(**FEED)))
    assert {need.ability for need in found.left_out["things"]} == {"state"}


def test_a_stream_without_a_cursor_has_no_state() -> None:
    sent = {"q": "{{ stream_state.changed }}", "of": "{{ stream_state.at or config['token'] }}"}
    found = endpoint(stream(request_parameters=sent))
    assert found["request"]["params"] == {"of": "${SHOP_TOKEN}"}
    assert "window" not in found


def test_a_bound_without_a_name_is_in_no_request() -> None:
    bare = window(end_time_option=None, start_time_option=option("{{ parameters['since'] }}"))
    one = stream(incremental_sync=bare)
    assert endpoint(one)["window"] == {"start": "none", "end": "none"}
    assert "no request has its {start}" in str(made(one).doubts["things"])
    unnamed = pages({"type": "PageIncrement", "page_size": 2}, option("{{ parameters['page'] }}"))
    found = made(stream(paginator=unnamed))
    assert {need.ability for need in found.left_out["things"]} == {"paging_place"}


def test_a_token_in_the_place_of_a_bound_is_said() -> None:
    strategy = {"type": "CursorPagination", "cursor_value": "{{ response.end }}"}
    one = stream(
        incremental_sync=window(end_time_option=None), paginator=pages(strategy, option("from"))
    )
    assert endpoint(one)["request"]["params"] == {"from": "{token}"}
    assert "from is {start} in the manifest's first request" in str(made(one).doubts["things"])
    inner = {"type": "RequestOption", "inject_into": "body_json", "field_path": ["filter", "from"]}
    nested = stream(
        http_method="POST",
        incremental_sync=window(start_time_option=inner, end_time_option=None),
        paginator=pages(strategy, inner),
    )
    assert "from is {start} in the manifest's first request" in str(made(nested).doubts["things"])


def test_a_bound_as_a_number_of_milliseconds() -> None:
    jql = "updated >= {{ (timestamp(stream_slice.start_time) * 1000)|int }}"
    bare = window(start_time_option=None, end_time_option=None)
    found = endpoint(stream(request_parameters={"jql": jql}, incremental_sync=bare))
    assert found["request"]["params"] == {"jql": "updated >= {start}"}
    assert found["window"]["format"] == "epoch_ms"


@pytest.mark.parametrize("alone", ["", " if next_page_token is none else ''"])
def test_a_parameter_that_is_a_list_of_both_bounds(alone: str) -> None:
    both = f"{{{{ [stream_interval['start_time'], stream_interval['end_time']]{alone} }}}}"
    bare = window(start_time_option=None, end_time_option=None)
    strategy = {"type": "CursorPagination", "cursor_value": "{{ response.next }}"}
    one = stream(
        request_parameters={"at[]": both, "sort": "at"},
        incremental_sync=bare,
        paginator=pages(strategy, option("after")),
    )
    found = endpoint(one)["request"]
    assert found["params"] == {"at[]": ["{start}", "{end}"], "sort": "at", "after": "{token}"}
    assert found.get("with_token") == (["sort", "after"] if alone else None)
