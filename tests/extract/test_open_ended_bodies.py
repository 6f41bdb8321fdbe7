"""Responses that name no length, in a format that shows no end: cut ones look like whole ones."""

from datetime import UTC, datetime

import pytest

from pipeline.config import Source
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.http10 import Respond, serving_1_0
from tests.support.runs import extract, outcome_of
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
LINES = "".join(f'{{"id": {n}}}\n' for n in range(1, 8))
CSV = "id,amount\n" + "".join(f"{n},{n}2345\n" for n in range(1, 8))
NONE, LINK = "{kind: none}", "{kind: link, limit: 3}"


def source_at(url: str, paging: str = NONE, format: str = "jsonl", more: str = "") -> Source:
    columns = "{id: int64, amount: int64}" if format == "csv" else "{id: int64}"
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        retries: {{errors: 1, first_wait_s: 0.001}}
        endpoints:
          things: {{format: {format}, paging: {paging}, key: [id], columns: {columns}{more}}}
        """
    )


def once(cut: str, whole: str) -> Respond:
    """A first response that is cut short, and whole ones after it."""
    return lambda _, before: (whole if before else cut, {})


@pytest.mark.parametrize(
    ("format", "cut", "whole"),
    [
        pytest.param("jsonl", LINES[:36], LINES, id="behind a line"),
        pytest.param("jsonl", "", LINES, id="before its first line"),
        pytest.param("csv", CSV[:34], CSV, id="csv behind a line"),
        pytest.param("csv", CSV[:-4], CSV, id="csv within its last cell"),
        pytest.param("csv", CSV[:10], CSV, id="csv behind its names"),
    ],
)
def test_a_body_that_is_cut_once_loses_no_row(
    lake: Lake, format: str, cut: str, whole: str
) -> None:
    with serving_1_0(once(cut, whole)) as (url, requested):
        (manifest,) = extract(source_at(url, format=format), lake, "things", DAY, NOW)
    rows = key_rows(lake, manifest.files, ["id", "amount"] if format == "csv" else ["id"])
    assert rows["id"].to_pylist() == [1, 2, 3, 4, 5, 6, 7]
    if format == "csv":
        assert rows["amount"].to_pylist()[-1] == 72345
    assert len(requested) == 3


def chain(page: str, before: int) -> tuple[str, dict[str, str]]:
    lines = LINES.splitlines(keepends=True)
    number = 1 if page == "things" else int(page)
    rows = lines[3 * number - 3 : 3 * number]
    following = {"Link": f'<?at={number + 1}>; rel="next"'} if 3 * number < len(lines) else {}
    return "".join(rows[:1] if number == 2 and not before else rows), following


def test_a_page_within_a_chain_that_is_cut_once_loses_no_row(lake: Lake) -> None:
    with serving_1_0(chain) as (url, requested):
        (manifest,) = extract(source_at(url, LINK), lake, "things", DAY, NOW)
    assert manifest.rows == 7
    assert requested == ["things", "2", "2", "3", "3"]  # full pages need no confirmation


def test_a_response_that_names_its_length_or_is_json_is_requested_once(lake: Lake) -> None:
    def respond(_: str, before: int) -> tuple[str, dict[str, str]]:
        return LINES, {"Content-Length": str(len(LINES))}

    with serving_1_0(respond) as (url, requested):
        extract(source_at(url), lake, "things", DAY, NOW)
        assert requested == ["things"]
    with serving_1_0(lambda *_: ('[{"id": 1}]', {})) as (url, requested):
        extract(source_at(url, format="json"), lake, "things", DAY, NOW)
        assert requested == ["things"]


def test_bodies_that_are_never_alike_are_no_proof_without_a_count(lake: Lake) -> None:
    def respond(page: str, before: int) -> tuple[str, dict[str, str]]:
        lines = LINES.splitlines(keepends=True)
        return (
            '{"count": 7}' if page == "count" else "".join(lines[: (3, 5, 7, 6, 3)[before % 5]]),
            {},
        )

    with serving_1_0(respond) as (url, _):
        outcome, _ = outcome_of(source_at(url), lake, "things", DAY, NOW)
        (manifest,) = extract(source_at(url, more=", count: {}"), lake, "things", DAY, NOW)
    unproved = outcome.results[0].manifest
    assert not unproved.proof.contiguous
    assert "no two responses in a row were of the same length" in str(unproved.checks)
    assert unproved.rows == manifest.rows == 7
