"""What one page of APIs that others wrote is taken for: pages, as such servers answer them."""

from typing import Any

import pytest
import yaml

from pipeline.config import load_source
from sourcetool.infer import Guess, guess
from sourcetool.new import propose
from sourcetool.new_request import RequestOptions, request_of

TIMES = ("2026-11-02T10:00:00", "2026-11-03T11:30:00")


def units(more: str = "Z", **inner: Any) -> list[dict[str, Any]]:
    return [{"id": n, "changed": at + more, **inner} for n, at in enumerate(TIMES, 1)]


def guessed(body: Any, params: str = "limit=2", **headers: str) -> Guess:
    pairs = [tuple(pair.split("=", 1)) for pair in params.split("&")]
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return guess(body, names, pairs)  # type: ignore[arg-type]


def endpoint_of(found: Guess, url: str, tmp_path: Any) -> dict[str, Any]:
    """What is proposed loads, too."""
    file = tmp_path / "x.yaml"
    file.write_text(propose("x", request_of(RequestOptions(url), "x", {}), found))
    load_source(file)
    (endpoint,) = yaml.safe_load(file.read_text())["endpoints"].values()
    return dict(endpoint)


def test_odata_names_its_next_page_by_a_relative_link(tmp_path: Any) -> None:
    body = {"@odata.count": 9, "value": units(), "@odata.nextLink": "Units?$skiptoken=2"}
    made = endpoint_of(guessed(body, "$top=2"), "https://api.test/odata/Units", tmp_path)
    assert made["paging"] == {
        "kind": "link",
        "limit": 2,
        "next": r"@odata\.nextLink",
        "total": r"@odata\.count",
    }


def test_a_slash_at_the_end_of_a_url_stays(tmp_path: Any) -> None:
    made = endpoint_of(guessed(units()), "https://api.test/v1/units/", tmp_path)
    assert made["path"] == "units/"


def test_a_link_in_a_header_of_its_own() -> None:
    found = guessed(
        {"data": units()}, Next_Page="https://api.test/units?_token=e3", Total_Items="9"
    )
    assert found.paging == {
        "kind": "link",
        "limit": 2,
        "header": "next-page",
        "total_header": "total-items",
    }
    assert guessed(units(), X_Next_Page="").paging == {"kind": "none"}


@pytest.mark.parametrize(
    ("body", "params", "headers"),
    [
        ({"data": units(), "total": 900}, "fields=a", {}),
        ({"data": units(), "meta": {"total_pages": 5}}, "fields=a", {}),
        ({"data": units(), "truncated": True}, "fields=a", {}),
        (units(), "fields=a", {"X_Next_Page": "2"}),
        ([{"id": n, "changed": TIMES[0]} for n in range(100)], "fields=a", {}),
        ([{"id": n, "changed": TIMES[0]} for n in range(12)], "top_n=12", {}),
    ],
)
def test_no_page_that_looks_capped_is_proposed_as_all_there_is(
    body: Any, params: str, headers: dict[str, str], tmp_path: Any
) -> None:
    found = guessed(body, params, **headers)
    assert found.paging["kind"] == "page"
    assert any("The parameter page is a guess" in doubt for doubt in found.doubts)
    made = endpoint_of(found, f"https://api.test/v1/units?{params}", tmp_path)
    assert made["paging"]["kind"] == "page"
    assert made["request"]["params"]["page"] == "{page}"


def test_stripe_goes_on_behind_its_last_row(tmp_path: Any) -> None:
    rows = units(settings={"method": None}, links=[])
    found = guessed({"data": rows, "has_more": True, "total_count": 9})
    assert found.paging == {
        "kind": "token",
        "limit": 2,
        "last": "id",
        "more": "has_more",
        "total": "total_count",
    }
    assert found.params["starting_after"] == "{token}"
    assert found.columns["settings"] == found.columns["links"] == "json"
    endpoint_of(found, "https://api.test/v1/units", tmp_path)


def test_a_flag_goes_with_a_token() -> None:
    page = {"next_cursor": "e3", "has_more": True}
    assert guessed({"data": units(), **page}, "limit=2&cursor=").paging == {
        "kind": "token",
        "limit": 2,
        "next": "next_cursor",
        "more": "has_more",
    }


def test_json_api_has_brackets_in_parameters_and_wraps_its_rows(tmp_path: Any) -> None:
    rows = [
        {"type": "u", "id": row["id"], "attributes": {"changed": row["changed"]}} for row in units()
    ]
    asked = "page[size]=2&page[number]=1&filter[changed.gte]=2026-11-01T00:00:00Z"
    found = guessed({"data": rows, "links": {"next": "/u?page[number]=2"}}, asked)
    assert found.params["page[size]"] == "{limit}"
    assert found.params["filter[changed.gte]"] == "{start}"
    made = endpoint_of(found, "https://api.test/units", tmp_path)
    assert made["cursor"] == "changed"
    assert made["columns"]["changed"] == {"type": "timestamp[iso]", "path": "attributes.changed"}


@pytest.mark.parametrize(("more", "doubted"), [("", True), ("Z", False), ("+00:00", False)])
def test_a_time_without_a_zone_is_doubted(more: str, doubted: bool) -> None:
    rows = [row | {"changed_gmt": row["changed"]} for row in units(more)]
    found = guessed(rows, "limit=2&changed_after=2026-11-01T00:00:00")
    assert found.cursor == "changed_gmt"
    assert any("no time zone" in doubt for doubt in found.doubts) is doubted


def test_mediawiki_names_its_token_and_all_parameters_with_a_prefix(tmp_path: Any) -> None:
    rows = [{"rcid": n, "timestamp": f"{at}Z"} for n, at in enumerate(TIMES, 1)]
    after = {"rccontinue": "20261103113000|3", "continue": "-||"}
    body = {"batchcomplete": True, "continue": after, "query": {"recentchanges": rows}}
    asked = "list=recentchanges&rclimit=2&rcdir=newer&rcstart=2026-11-02T00:00:00Z"
    made = endpoint_of(
        guessed(body, f"{asked}&rcend=2026-11-04T00:00:00Z"), "https://wiki.test/api.php", tmp_path
    )
    assert made["paging"] == {"kind": "token", "limit": 2, "next": "continue", "as_params": True}
    assert made["request"]["params"] == {
        "list": "recentchanges",
        "rclimit": "{limit}",
        "rcdir": "newer",
        "rcstart": "{start}",
        "rcend": "{end}",
    }
    assert (made["rows"], made["cursor"]) == ("query.recentchanges", "timestamp")


def test_mailman_counts_by_total_size() -> None:
    found = guessed({"start": 0, "total_size": 9, "entries": units()}, "count=2&page=1")
    assert found.paging == {"kind": "page", "limit": 2, "first": 1, "total": "total_size"}
    assert not [doubt for doubt in found.doubts if "no count" in doubt]


def test_directus_counts_by_filter_count() -> None:
    found = guessed({"meta": {"filter_count": 9}, "data": units()}, "limit=2&page=1")
    assert found.paging == {"kind": "page", "limit": 2, "first": 1, "total": "meta.filter_count"}


def test_a_count_in_a_header_goes_with_offsets_too() -> None:
    """json-server, by _start."""
    found = guessed(units(), "_limit=2&_start=0", X_Total_Count="9")
    assert found.paging["total_header"] == "x-total-count"
    assert not [doubt for doubt in found.doubts if "no count" in doubt]


@pytest.mark.parametrize("params", ["limit=2&page=1", "limit=2&offset=0"])
def test_numbered_pages_without_a_count_are_doubted(params: str) -> None:
    assert [doubt for doubt in guessed(units(), params).doubts if "no count of the rows" in doubt]


def test_a_window_in_an_apis_own_words_is_not_passed_over() -> None:
    """Redmine: what stands in the URL goes out with every request."""
    found = guessed(units(), "limit=2&offset=0&changed=><2026-11-02|2026-11-03")
    assert found.cursor is None
    assert [doubt for doubt in found.doubts if doubt.startswith("changed=><2026-11-02|2026-11-03")]


def test_a_column_that_was_null_in_every_row_has_no_type_yet() -> None:
    """Redmine's estimated_hours: it was declared as text, and refused the first number."""
    assert "hours" not in guessed(units(hours=None)).columns


@pytest.mark.parametrize(
    ("named", "parameter"),
    [
        ("next_page_token", "page_token"),
        ("nextPageToken", "pageToken"),
        ("next_cursor", "cursor"),
        ("NextToken", "NextToken"),
        ("next_token", "next_token"),
    ],
)
def test_the_parameter_of_a_token_is_called_as_apis_call_it(named: str, parameter: str) -> None:
    """MLflow, Google, Slack, AWS."""
    found = guessed({"units": units(), named: "eyJvZmZzZXQiOiAyfQ=="})
    assert found.paging == {"kind": "token", "limit": 2, "next": named}
    assert found.params[parameter] == "{token}"


def test_a_fixed_time_in_a_snapshot_is_doubted() -> None:
    """Prometheus: its rows have no time, and the same day would be asked for for ever."""
    rows = [{"metric": {"host": host}, "values": [[1795219200, "9.5"]]} for host in "ab"]
    found = guessed({"data": {"result": rows}}, "query=cpu&start=2026-11-21T00:00:00Z")
    assert any("start=2026-11-21T00:00:00Z is sent with every request" in d for d in found.doubts)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("/Date(1795132800000)/", "timestamp[dotnet]"),
        ("/Date(1795132800000+0100)/", "timestamp[dotnet]"),
        ("1795132800.25", "timestamp[s]"),
        ("2026-11-20T00:00:00Z[UTC]", "timestamp[iso]"),
        ("2026-11-20T00:00:00+01:00[Europe/Berlin]", "timestamp[iso]"),
        ("20.11.2026", "string"),
        ("1795132800", "string"),
    ],
)
def test_times_as_apis_write_them_are_proposed_as_times(value: str, kind: str) -> None:
    assert guessed([{"id": 1, "at": value}]).columns["at"] == kind


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ([], "as it is empty"),
        (["a", "b"], "`as: scalars`"),
        ([[1, "a"], [2, "b"]], "`as: values`"),
        ({"id": 1, "name": "x"}, "`as: object`, if it is one row"),
        ({"r": {"results": {"a": {"x": 1}, "b": {"x": 2}}}}, "`rows: r.results` and `as: map`"),
        ({"fields": ["id", "v"], "data": [[1, "a"]]}, "`rows: data` and `as: columns` and `nam"),
        ({"data": {"ids": [1, 2]}}, "`rows: data.ids` and `as: scalars`"),
        (
            {"hourly": {"time": ["a", "b"], "t": [1, 2]}},
            "`rows: hourly` and `as: columns`, if each",
        ),
    ],
)
def test_rows_of_another_form_are_named(body: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match="no list of objects") as caught:
        guessed(body)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("params", "more", "paging"),
    [
        # Jira: an offset by its own name, and the count of the page (NetSuite) is no total.
        (
            "startAt=0&maxResults=2",
            {"total": 9},
            {"kind": "offset", "limit": 2, "overlap": False, "total": "total"},
        ),
        (
            "offset=0&limit=2",
            {"count": 2, "hasMore": True, "totalResults": 9},
            {"kind": "offset", "limit": 2, "overlap": False, "more": "hasMore"}
            | {"total": "totalResults"},
        ),
        (
            "limit=2",
            {"nextPageToken": "ab", "isLast": False},
            {"kind": "token", "limit": 2, "next": "nextPageToken", "more": "!isLast"},
        ),
        # ClickUp, Zendesk's incremental exports, Salesforce.
        (
            "page=0&limit=2",
            {"last_page": False},
            {"kind": "page", "limit": 2, "first": 0, "more": "!last_page"},
        ),
        (
            "limit=2",
            {"after_url": "https://api.test/x?cursor=b", "end_of_stream": False},
            {"kind": "link", "limit": 2, "next": "after_url", "more": "!end_of_stream"},
        ),
        (
            "limit=2",
            {"nextRecordsUrl": "/query/01g-2", "done": False, "totalSize": 9},
            {"kind": "link", "limit": 2, "next": "nextRecordsUrl", "more": "!done"}
            | {"total": "totalSize"},
        ),
        # OData of version 2 counts in a text.
        (
            "$skip=0&$top=2",
            {"__count": "9"},
            {"kind": "offset", "limit": 2, "overlap": False, "total": "__count"},
        ),
    ],
)
def test_pages_as_the_apis_of_the_world_name_them(
    params: str, more: dict[str, Any], paging: dict[str, Any]
) -> None:
    assert guessed({"items": units(), **more}, params).paging == paging


def test_a_size_that_brings_fewer_rows_and_a_link_stays_as_it_is(tmp_path: Any) -> None:
    """``$top`` of OData is the number of all rows: with the size of a page no link would come."""
    body = {"value": units(), "@odata.nextLink": "Units?$skiptoken=2"}
    made = endpoint_of(
        guessed(body, "$top=5000"), "https://api.test/odata/Units?$top=5000", tmp_path
    )
    assert made["request"]["params"] == {"$top": "5000"}
    assert made["paging"]["limit"] == 2


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1795840753000", "1795840999000"], "timestamp[ms]"),
        (["1795840753", "1795840999"], "timestamp[s]"),
        ([1795840753000, 1795840999000], "timestamp[ms]"),
        (["17958", "17959"], "string"),
    ],
)
def test_a_cursor_since_1970_is_declared_as_a_time(values: list[Any], kind: str) -> None:
    rows = [{"id": n, "date_updated": value} for n, value in enumerate(values)]
    found = guessed({"tasks": rows})
    assert found.columns["date_updated"] == kind
    assert any("add cursor: date_updated" in each for each in found.doubts) == (kind != "string")


def test_a_cursor_that_is_null_in_some_rows_goes_with_another_time() -> None:
    rows = [{"id": n, "created": f"{at}Z", "modified": None} for n, at in enumerate(TIMES)]
    rows[0]["modified"] = f"{TIMES[1]}Z"
    found = guessed({"results": rows})
    said = "add cursor: [modified, created], as modified is null in 1 row"
    assert any(said in each for each in found.doubts)
