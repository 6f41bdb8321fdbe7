"""Children endpoints against a real server over a socket, into a real S3."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.services import S3
from pipeline import ratelimit
from pipeline.config import Source, load_source
from pipeline.errors import ContractBroken
from pipeline.http.client import open_client
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.other_runs import winner
from pipeline.run.runner import RunOutcome, run_source
from tests.support.clock import at_once
from tests.support.runs import serving as serving_app
from tests.support.wire import answer, client_of, serving
from tests.support.yaml_sources import quick

pytestmark = pytest.mark.slow

DAY = "2026-03-02"
NEXT_DAY = "2026-03-03"
NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
POSTS = 40
BROKEN = {"7"}

YAML = """
source: blog
base_url: {url}
start: 2026-03-01
safety_margin_s: 0
limits: {{in_flight: 8}}
retries: {{errors: 1, first_wait_s: 0.001}}
endpoints:
  posts:
    request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
    key: [id]
    cursor: changed
    columns: {{id: int64, changed: "timestamp[iso]"}}
  likes:
    path: posts/{{parent}}/likes
    request: {{params: {{page: "{{page}}"}}}}
    paging: {{kind: page, limit: 5}}
    key: [post_id, user]
    columns: {{post_id: int64, user: string}}
    parents:
      {{endpoint: posts, column: {column}, column_here: post_id, concurrency: 4,
       max_failed_share: {share}}}
  scores:
    path: scores
    request: {{params: {{ids: "{{parent}}"}}}}
    key: [id]
    columns: {{id: int64, score: double}}
    parents: {{endpoint: posts, group: 15}}
"""


def likes_of(post: int) -> list[dict[str, object]]:
    starred = {"stars": 5} if post >= 0 else {}
    return [{"user": f"u{n}", **starred} for n in range(post % 12)]


async def posts(request: Request) -> Response:
    if "since" not in request.query_params:
        return JSONResponse([{"id": -1, "changed": "2026-03-01T10:00:00Z", "guest": 1}])
    since = request.query_params["since"]
    changed = f"{DAY}T10:00:00Z"
    rows: list[dict[str, object]] = [
        {"id": n, "changed": changed, "tags": ["a"]} for n in range(POSTS)
    ]
    rows.append({"id": -1, "changed": f"{NEXT_DAY}T10:00:00Z"})
    until = request.query_params["until"]
    return JSONResponse([row for row in rows if since <= str(row["changed"]) < until])


async def likes(request: Request) -> Response:
    post = request.path_params["post"]
    if post in BROKEN:
        return JSONResponse({"message": "gone"}, status_code=410)
    first = (int(request.query_params["page"]) - 1) * 5
    return JSONResponse(likes_of(int(post))[first : first + 5])


async def scores(request: Request) -> Response:
    ids = request.query_params["ids"].split(",")
    assert len(ids) <= 15
    return JSONResponse([{"id": int(n), "score": int(n) / 2} for n in ids])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    routes = [
        Route("/posts", posts),
        Route("/posts/{post}/likes", likes),
        Route("/scores", scores),
    ]
    with serving_app(Starlette(routes=routes)) as url:
        yield url


def source_at(url: str, folder: Path, share: float, column: str = "id") -> Source:
    file = folder / "blog.yaml"
    file.write_text(YAML.format(url=url, share=share, column=column))
    return load_source(file, {})


def materialize(
    source: Source, lake: Lake, names: list[str], *days: str, run_id: str = "run"
) -> RunOutcome:
    async def main() -> RunOutcome:
        limits = ratelimit.Limits((ratelimit.RateWindow(10_000, 1.0),), 8)
        async with open_client(source, ratelimit.open_budget("blog", limits, None)) as client:
            run, outcome = (
                RunContext(source, lake, client, run_id, lambda: NOW, sleep=at_once),
                RunOutcome(),
            )
            await run_source(run, names, days or (DAY,), outcome)
            return outcome

    return asyncio.run(main())


def test_the_children_of_each_parent_come_once(url: str, s3: S3, tmp_path: Path) -> None:
    lake = Lake(s3.client(), "s3://lake/parents-once")
    outcome = materialize(source_at(url, tmp_path, 0.1), lake, ["posts", "likes", "scores"])
    assert not outcome.failed
    got = dataset(lake, "blog", "likes").to_table().select(["post_id", "user"]).to_pylist()
    expected = [
        {"post_id": post, "user": like["user"]}
        for post in range(POSTS)
        if str(post) not in BROKEN
        for like in likes_of(post)
    ]
    key = lambda row: (row["post_id"], row["user"])  # noqa: E731
    assert sorted(got, key=key) == sorted(expected, key=key)
    assert dataset(lake, "blog", "scores").to_table()["id"].to_pylist() == list(range(POSTS))


def test_a_failing_parent_is_listed_and_does_not_fail_the_others(
    url: str, s3: S3, tmp_path: Path
) -> None:
    lake = Lake(s3.client(), "s3://lake/parents-listed")
    outcome = materialize(source_at(url, tmp_path, 0.1), lake, ["posts", "likes"])
    manifest = {r.endpoint: r.manifest for r in outcome.results}["likes"]
    found = manifest.notes.parents
    assert (found["asked"], found["failed"]) == (POSTS, 1)
    assert found["failures"][0]["parent"] == "7"
    assert "410" in found["failures"][0]["reason"]
    assert manifest.proof.contiguous is False


def test_more_failures_than_allowed_fail_the_partition(url: str, s3: S3, tmp_path: Path) -> None:
    lake = Lake(s3.client(), "s3://lake/parents-many")
    outcome = materialize(source_at(url, tmp_path, 0.0), lake, ["posts", "likes"])
    [failed] = outcome.failed
    assert isinstance(failed.error, ContractBroken)
    assert "1 of 40 parents failed" in str(failed.error)
    assert [r.endpoint for r in outcome.results] == ["posts"]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            "guid",
            "parents.column is `guid`, expected a column of `blog/posts`: "
            "one of id, changed, tags, _",
        ),
        ("tags", "parents.column `tags` of `blog/posts` is list<"),
    ],
)
def test_a_column_that_the_parent_does_not_have_is_said(
    url: str, s3: S3, tmp_path: Path, column: str, said: str
) -> None:
    lake = Lake(s3.client(), f"s3://lake/parents-column-{column}")
    source = source_at(url, tmp_path, 0.1, column)
    outcome = materialize(source, lake, ["posts", "likes", "scores"])
    [failed] = outcome.failed
    assert isinstance(failed.error, ContractBroken)
    assert str(failed.error).startswith(said)
    assert {r.endpoint for r in outcome.results} == {"posts", "scores"}


def test_a_column_that_no_row_of_the_day_has_is_nobody_to_ask(
    url: str, s3: S3, tmp_path: Path
) -> None:
    """Another day had it: the manifest goes on naming it."""
    lake = Lake(s3.client(), "s3://lake/parents-nobody")
    source = source_at(url, tmp_path, 0.1, "guest")
    materialize(source, lake, ["posts"], "2026-03-01")
    outcome = materialize(source, lake, ["posts", "likes"])
    assert not outcome.failed
    manifest = {r.endpoint: r.manifest for r in outcome.results}["likes"]
    assert (manifest.rows, manifest.notes.parents["asked"]) == (0, 0)


def test_without_its_parent_a_child_says_so(url: str, s3: S3, tmp_path: Path) -> None:
    lake = Lake(s3.client(), "s3://lake/parents-alone")
    outcome = materialize(source_at(url, tmp_path, 0.0), lake, ["likes"])
    assert "The parent `posts` is not committed" in str(outcome.failed[0].error)


def test_the_loser_of_a_race_for_a_child_takes_what_is_made_from_the_parents_that_are_there(
    url: str, s3: S3, tmp_path: Path
) -> None:
    lake = Lake(s3.client(), "s3://lake/parents-race")
    source = source_at(url, tmp_path, 0.1)

    async def of_another_run(now: datetime) -> Manifest | None:
        async with (
            serving(lambda number, seen: answer([])) as wire,
            client_of(quick(wire.url)) as c,
        ):
            run = RunContext(source, lake, c, "another", lambda: now, sleep=at_once)
            return await winner(run, "likes", DAY, since=now, patience_s=0.1)

    materialize(source, lake, ["posts", "likes"])
    made = asyncio.run(of_another_run(NOW))
    assert made is not None
    assert made.endpoint == "likes"
    assert asyncio.run(of_another_run(NOW + timedelta(seconds=1))) is None  # older than our try
    materialize(source, lake, ["posts"], run_id="later")
    assert asyncio.run(of_another_run(NOW)) is None  # of parents that are replaced
    materialize(source, lake, ["likes"], run_id="later")
    assert asyncio.run(of_another_run(NOW)) is not None


def test_a_child_s_columns_are_known_though_its_day_has_none_of_them(
    url: str, s3: S3, tmp_path: Path
) -> None:
    """And though it was read beside the day that had."""
    lake = Lake(s3.client(), "s3://lake/parents-known")
    outcome = materialize(source_at(url, tmp_path, 0.1), lake, ["posts", "likes"], DAY, NEXT_DAY)
    assert not outcome.failed
    of = {(each.endpoint, each.manifest.partition): each.manifest for each in outcome.results}
    manifest = of["likes", NEXT_DAY]
    assert manifest.rows == 11
    assert "stars" in {column["name"] for column in manifest.columns}
    assert not manifest.notes.schema_changes
