"""An endpoint that is asked for each value of a list: repositories, accounts, shops."""

import asyncio
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.config import Source, load_source
from pipeline.errors import ConfigError, RequestRefused
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import current, dataset
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, sweep
from sourcetool.check import Wanted, check
from tests.support.clock import at_once
from tests.support.responses import json_answer
from tests.support.runs import LIMITS, extract, outcome_of, serving
from tests.support.yaml_sources import source_of as source_of_text

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 4, tzinfo=UTC)
DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]
REPOSITORIES = ["acme/rocket", "acme/sled", "duck/db", "duck/empty"]
PAGINGS = {
    "offset": ("paging: {kind: offset, limit: 10}", 'offset: "{offset}", limit: "{limit}"'),
    "page": ("paging: {kind: page, limit: 10, total: total}", 'page: "{page}", limit: "{limit}"'),
    "token": ("paging: {kind: token, next: next, limit: 10}", 'token: "{token}"'),
}


def issues_of(repository: str) -> list[dict[str, Any]]:
    """Numbers begin anew in every repository; some rows on each day."""
    many = {"acme/rocket": 95, "acme/sled": 31, "duck/db": 60}.get(repository, 0)
    first = datetime(2026, 11, 1, 2, tzinfo=UTC)
    ids = 1_000 * REPOSITORIES.index(repository)
    return [
        {"id": ids + n, "number": n, "changed": (first + timedelta(minutes=43 * n)).isoformat()}
        for n in range(1, many + 1)
    ]


def begin_of(given: dict[str, str]) -> int:
    return int(given.get("offset") or given.get("token") or 0)


class Forge:
    """Repositories, each with issues of its own."""

    def __init__(self, before: Callable[[str, dict[str, str]], Response | None] | None = None):
        self.issues = {name: issues_of(name) for name in REPOSITORIES}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._before = before

    async def answer(self, request: Request) -> Response:
        repository = "{owner}/{name}".format(**request.path_params)
        given = dict(request.query_params)
        self.asked.append((repository, given))
        assert request.scope["raw_path"].decode() == f"/repos/{repository}/issues"
        if self._before and (sick := self._before(repository, given)):
            return sick
        if repository not in self.issues:
            return json_answer({"message": "Not Found"}, 404)
        rows = [
            row
            for row in self.issues[repository]
            if given.get("from", "") <= row["changed"] < given.get("to", "~")
        ]
        size = 10
        begin = begin_of(given)
        begin = (int(given["page"]) - 1) * size if "page" in given else begin
        size = int(given.get("limit", size))
        more = {"next": str(begin + size)} if begin + size < len(rows) else {}
        return json_answer({"rows": rows[begin : begin + size], "total": len(rows), **more})

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/repos/{owner}/{name}/issues", self.answer)])


def source_of(
    url: str,
    tmp_path: Path,
    paging: str = "offset",
    values: str = "[acme/rocket, acme/sled, duck/db, duck/empty]",
    more: str = "",
) -> Source:
    how, params = PAGINGS[paging]
    file = tmp_path / "forge.yaml"
    file.write_text(
        f"source: forge\nbase_url: {url}\nstart: 2026-11-01\nsafety_margin_s: 0\n"
        "retries: {errors: 1, first_wait_s: 0.001}\nendpoints:\n  issues:\n"
        "    path: repos/{each|path}/issues\n"
        f"    each: {{values: {values}, column_here: repository, concurrency: 2}}\n"
        f'    request: {{params: {{from: "{{start}}", to: "{{end}}", {params}}}}}\n'
        f"    {how}\n    rows: rows\n    key: [repository, number]\n    cursor: changed\n"
        "    columns: {repository: string, number: int64, changed: 'timestamp[iso]'}\n"
        f"{more}"
    )
    return load_source(file, {"FORGE": "acme/rocket, duck/db"})


def keys(lake: Lake, manifests: list[Manifest]) -> list[tuple[str, int]]:
    tables = [key_rows(lake, m.files, ["repository", "number"]) for m in manifests if m.files]
    return [(row["repository"], row["number"]) for table in tables for row in table.to_pylist()]


def all_of(*repositories: str) -> list[tuple[str, int]]:
    return sorted((name, row["number"]) for name in repositories for row in issues_of(name))


@pytest.mark.parametrize("paging", PAGINGS)
def test_every_row_of_every_value_and_day(lake: Lake, tmp_path: Path, paging: str) -> None:
    forge = Forge()
    values = ["duck/db", "acme/sled", "duck/empty", "acme/rocket"]
    with serving(forge.app()) as url:
        source = source_of(url, tmp_path, paging, f"[{', '.join(values)}]")
        manifests = extract(source, lake, "issues", DAYS, NOW)
    assert sorted(keys(lake, manifests)) == all_of(*REPOSITORIES)
    assert all(m.rows for m in manifests)
    assert keys(lake, manifests[:1]) == sorted(keys(lake, manifests[:1])), "as files are read best"
    assert manifests[1].notes.each == tuple(values)
    assert manifests[1].proof.pages >= len(
        [1 for _, given in forge.asked if given.get("from", "").startswith(DAYS[1])]
    ) - 2 * len(REPOSITORIES)


def test_values_are_read_side_by_side(lake: Lake, tmp_path: Path) -> None:
    """The first value's answer waits until the second has been asked for."""
    second_asked = asyncio.Event()
    forge = Forge()

    async def answer(request: Request) -> Response:
        if request.path_params["name"] == "sled":
            second_asked.set()
        await asyncio.wait_for(second_asked.wait(), 20)
        return await forge.answer(request)

    app = Starlette(routes=[Route("/repos/{owner}/{name}/issues", answer)])
    with serving(app) as url:
        extract(source_of(url, tmp_path, "token"), lake, "issues", DAYS[:1], NOW)


def test_a_long_value_holds_up_no_other(lake: Lake, tmp_path: Path) -> None:
    """The first value's second page waits until all of the others have been read."""
    others_read = asyncio.Event()
    forge = Forge()
    forge.issues["duck/empty"] = issues_of("duck/db")
    last = {"duck/db": "50", "duck/empty": "50", "acme/sled": "30"}
    seen: set[str] = set()

    async def answer(request: Request) -> Response:
        repository = "{owner}/{name}".format(**request.path_params)
        token = request.query_params.get("token")
        if (repository, token) in last.items():
            seen.add(repository)
        if seen == last.keys():
            others_read.set()
        if (repository, token) == ("acme/rocket", "10"):
            await asyncio.wait_for(others_read.wait(), 20)
        return await forge.answer(request)

    app = Starlette(routes=[Route("/repos/{owner}/{name}/issues", answer)])
    with serving(app) as url:
        source_of(url, tmp_path, "token", more="    batch_rows: 5\n")
        file = tmp_path / "forge.yaml"
        file.write_text(file.read_text().replace("start: 2026-11-01", "start: 2026-11-03"))
        extract(load_source(file, {}), lake, "issues", DAYS[2:], NOW)


@pytest.mark.parametrize("paging", ["offset", "token"])
def test_a_later_try_goes_on_inside_of_a_value(lake: Lake, tmp_path: Path, paging: str) -> None:
    well = False

    def sick_in_the_third(repository: str, given: dict[str, str]) -> Response | None:
        if repository == "duck/db" and begin_of(given) >= 20 and not well:
            return json_answer({"message": "out of order"}, 400)
        return None

    forge = Forge(sick_in_the_third)
    with serving(forge.app()) as url:
        source = source_of(url, tmp_path, paging, more="    batch_rows: 5\n")
        resumable = "resumable: true, kind" if paging == "token" else "kind"
        file = tmp_path / "forge.yaml"
        text = file.read_text().replace("start: 2026-11-01", "start: 2026-11-03")
        file.write_text(text.replace("paging: {kind", f"paging: {{{resumable}"))
        source = load_source(file, {})
        day = DAYS[2:]
        first, _ = outcome_of(source, lake, "issues", day, NOW, "one")
        assert isinstance(first.failed[0].error, RequestRefused)
        assert "each duck/db" in str(first.failed[0].error)
        asked, well = len(forge.asked), True
        file.write_text(file.read_text().replace("concurrency: 2", "concurrency: 1"))
        source = load_source(file, {})  # how many at a time does not matter to what is staged
        again, _ = outcome_of(source, lake, "issues", day, NOW, "one")
    manifest = again.results[0].manifest
    assert manifest.resumed_pages > 0
    later = forge.asked[asked:]
    assert "acme/sled" not in {name for name, _ in later}, "it had ended"
    first_pages = [name for name, given in later if begin_of(given) == 0]
    assert {*first_pages} <= {"duck/empty"}, "the others are gone on with"
    assert manifest.proof.contiguous
    assert sorted(keys(lake, [manifest])) == all_of(*REPOSITORIES)


def test_a_token_that_died_meanwhile_begins_the_partition_anew(lake: Lake, tmp_path: Path) -> None:
    """Though the value behind it was read well meanwhile."""
    well = False

    def dies(repository: str, given: dict[str, str]) -> Response | None:
        if repository == "acme/sled" and given.get("token") == "10":
            return None if well and ("acme/rocket", "") in seen else json_answer({}, 410)
        if well and "token" not in given:
            seen.add((repository, ""))
        return None

    seen: set[tuple[str, str]] = set()
    forge = Forge(dies)
    with serving(forge.app()) as url:
        source_of(url, tmp_path, "token", more="    batch_rows: 5\n")
        file = tmp_path / "forge.yaml"
        file.write_text(file.read_text().replace("{kind: token", "{resumable: true, kind: token"))
        source = load_source(file, {})
        file.write_text(file.read_text().replace("concurrency: 2", "concurrency: 1"))
        first, _ = outcome_of(load_source(file, {}), lake, "issues", DAYS[:1], NOW, "one")
        assert first.failed
        well = True
        again, _ = outcome_of(source, lake, "issues", DAYS[:1], NOW, "one")
    manifest = again.results[0].manifest
    assert manifest.resumed_pages == 0
    wanted = [key for key in all_of(*REPOSITORIES) if key[1] * 43 + 120 < 24 * 60]
    assert sorted(keys(lake, [manifest])) == wanted


def test_a_value_that_is_not_there_fails_the_partition(lake: Lake, tmp_path: Path) -> None:
    with serving(Forge().app()) as url:
        source = source_of(url, tmp_path, values="[acme/rocket, acme/gone]")
        outcome, _ = outcome_of(source, lake, "issues", DAYS[:1], NOW)
    assert not outcome.results
    said = str(outcome.failed[0].error)
    assert "forge/issues, page at offset 0, each acme/gone: the API refused" in said
    assert "404" in said


def test_a_value_that_is_new_gets_its_past(lake: Lake, tmp_path: Path) -> None:
    with serving(Forge().app()) as url:
        one = source_of(url, tmp_path, values="[acme/rocket]")
        extract(one, lake, "issues", DAYS[:1], NOW)
        two = source_of(url, tmp_path, values="'${FORGE}'")
        second = extract(two, lake, "issues", DAYS[1:2], NOW)[0]
        assert not second.notes.warning
        assert second.notes.values["from"] == [[None, ["duck/db"]]]
        third = extract(two, lake, "issues", DAYS[2:], NOW)[0]
        assert not third.notes.values
    found = current(lake, "forge", "issues", columns=["repository", "number"]).to_pylist()
    assert sorted(tuple(row.values()) for row in found) == all_of("acme/rocket", "duck/db")
    assert len(keys(lake, [second, third])) == len({*keys(lake, [second, third])})


def test_a_value_that_is_taken_out_is_told_before_its_past_is_lost(
    lake: Lake, tmp_path: Path
) -> None:
    with serving(Forge().app()) as url:
        two = source_of(url, tmp_path, values="[acme/rocket, duck/db]")
        extract(two, lake, "issues", DAYS[:1], NOW)
        other = source_of(url, tmp_path, values="[duck/db, acme/sled]")
        second = extract(other, lake, "issues", DAYS[1:2], NOW)[0]
        assert second.notes.warning == (
            "no longer among the values of each: acme/rocket. Their rows stay in the partitions "
            "that are committed, and are lost to one that is materialized again"
        )
        assert not extract(other, lake, "issues", DAYS[2:], NOW)[0].notes.warning


def test_rows_of_a_value_that_is_new_are_not_late(lake: Lake, tmp_path: Path) -> None:
    """They lie in the margin, and the day before lacks them, but it was never asked for them."""

    def with_margin(values: str) -> Source:
        source_of(url, tmp_path, values=values)
        file = tmp_path / "forge.yaml"
        file.write_text(file.read_text().replace("margin_s: 0", "margin_s: 7200"))
        return load_source(file, {})

    with serving(Forge().app()) as url:
        extract(with_margin("[acme/rocket]"), lake, "issues", DAYS[:1], NOW)
        second = extract(with_margin("[acme/rocket, duck/db]"), lake, "issues", DAYS[1:2], NOW)[0]
    assert (second.late_rows, second.latest_late_s) == (0, None)


def test_of_very_many_new_values_each_is_asked_for_once(lake: Lake, tmp_path: Path) -> None:
    many = [f"acme/{number}" for number in range(300)]
    forge = Forge()
    forge.issues |= {key: [] for key in many}
    with serving(forge.app()) as url:
        extract(source_of(url, tmp_path, values="[acme/rocket]"), lake, "issues", DAYS[:1], NOW)
        source = source_of(url, tmp_path, "page", values=f"[{', '.join(many)}]")
        asked = len(forge.asked)
        manifest = extract(source, lake, "issues", DAYS[1:2], NOW)[0]
    assert len(forge.asked) - asked == len(many), "one request for each that has no rows"
    assert not [given for _, given in forge.asked[asked:] if "from" in given], "from the beginning"
    assert manifest.notes.each == tuple(many)
    assert len(manifest.notes.warning) < 700


@pytest.mark.parametrize("key", ["[repository, number]", "[id]"])
def test_a_sweep_finds_what_is_gone_of_each_value(lake: Lake, tmp_path: Path, key: str) -> None:
    forge = Forge()
    with serving(forge.app()) as url:
        source_of(url, tmp_path, more="    sweep: true\n")
        file = tmp_path / "forge.yaml"
        text = file.read_text().replace("columns: {", "columns: {id: int64, ")
        file.write_text(text.replace("[repository, number]", key))
        source = load_source(file, {})
        extract(source, lake, "issues", DAYS, NOW)
        del forge.issues["duck/db"][3], forge.issues["acme/rocket"][3]
        swept = asyncio.run(_swept(source, lake))
    assert swept.keys_gone == 2
    assert swept.keys_seen == len(all_of(*REPOSITORIES)) - 2
    found = current(lake, "forge", "issues", columns=["repository", "number"]).to_pylist()
    gone = set(all_of(*REPOSITORIES)) - {tuple(row.values()) for row in found}
    assert gone == {("duck/db", 4), ("acme/rocket", 4)}


@pytest.mark.parametrize("key", ["[repository, number]", "[id]"])
def test_a_sweep_says_nothing_of_a_value_that_it_does_not_ask_for(
    lake: Lake, tmp_path: Path, key: str
) -> None:
    """Taken out of the list, its rows stay as they are: nobody saw that they are gone."""
    forge = Forge()
    with serving(forge.app()) as url:
        file = tmp_path / "forge.yaml"
        for values in ("[acme/rocket, duck/db]", "[duck/db]"):
            source_of(url, tmp_path, values=values, more="    sweep: true\n")
            text = file.read_text().replace("columns: {", "columns: {id: int64, ")
            file.write_text(text.replace("[repository, number]", key))
            source = load_source(file, {})
            if "rocket" in values:
                extract(source, lake, "issues", DAYS, NOW)
        del forge.issues["duck/db"][3]
        swept = asyncio.run(_swept(source, lake))
    assert swept.keys_gone == 1
    found = current(lake, "forge", "issues", columns=["repository", "number"]).to_pylist()
    gone = set(all_of("acme/rocket", "duck/db")) - {tuple(row.values()) for row in found}
    assert gone == {("duck/db", 4)}


async def _swept(source: Source, lake: Lake) -> SweepResult:
    async with open_client(source, ratelimit.open_budget("forge", LIMITS, "memory")) as client:
        later = datetime.now(UTC) + timedelta(days=1)
        return await sweep(
            RunContext(source, lake, client, "s", lambda: later, sleep=at_once),
            "issues",
            ExtractionProgress(),
        )


def checked(forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HEADRACE_BUDGET", str(tmp_path / "budget"))
    days = (datetime.now(UTC) - NOW).days + 4
    with serving(forge.app()) as url:
        source_of(url, tmp_path)
        console = Console(file=io.StringIO(), width=120, soft_wrap=True)
        check(str(tmp_path / "forge.yaml"), Wanted([], 2, days), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_check_source_looks_at_the_first_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge = Forge()
    said = checked(forge, tmp_path, monkeypatch)
    assert "issues of acme/rocket" in said
    assert {name for name, _ in forge.asked} == {"acme/rocket"}
    assert "10 + 10, 10 a page" in said
    assert "in none of" not in said, "the column that gets the value is filled by us"


class Unbounded(Forge):
    """Knows no upper bound."""

    async def answer(self, request: Request) -> Response:
        begin = datetime.fromisoformat(request.query_params.get("from", "2026-11-01T00:00:00Z"))
        known = self.issues["acme/rocket"]
        rows = [row for row in known if datetime.fromisoformat(row["changed"]) >= begin]
        return json_answer({"rows": rows[:10], "total": len(rows)})


def test_an_api_that_ignores_the_upper_bound_is_refused(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is named by the whole key, of which one column is the value's."""
    with serving(Unbounded().app()) as url:
        source = source_of(url, tmp_path, values="[acme/rocket]")
        long_ago = datetime(2026, 11, 1, 3, tzinfo=UTC)
        outcome, _ = outcome_of(source, lake, "issues", DAYS[:1], long_ago)
    said = str(outcome.failed[0].error)
    assert "Row `{'repository': 'acme/rocket', 'number': 2}` has" in said
    assert "The API seems to ignore the filter. Check: 1. the parameters with {start}" in said
    assert "The API seems to ignore the filter" in checked(Unbounded(), tmp_path, monkeypatch)


ODD = ["a b", "ü", "%2F", "{end}", "a,b", "a?b#c", "[[x {end}]]", "no", "007", "1:30", 7]


@pytest.mark.parametrize(
    "where",
    ["path: 'of/{each}/rows'", "path: of/x/rows\n    request: {params: {of: '{each}'}}"],
)
def test_odd_values_arrive_as_they_are_written(lake: Lake, tmp_path: Path, where: str) -> None:
    """What YAML 1.1 would read otherwise (``no``, ``007``, ``1:30``) included."""
    came: list[str] = []

    async def answer(request: Request) -> Response:
        came.append(request.query_params.get("of", request.path_params["of"]))
        return json_answer([{"id": len(came)}])

    file = tmp_path / "odd.yaml"
    values = ", ".join(str(v) if str(v).isalnum() or v == "1:30" else f"'{v}'" for v in ODD)
    with serving(Starlette(routes=[Route("/of/{of}/rows", answer)])) as url:
        file.write_text(
            f"source: odd\nbase_url: {url}\nstart: 2026-11-01\nendpoints:\n  rows_of:\n    "
            f"{where}\n    each: {{values: [{values}], column_here: of, concurrency: 1}}\n"
            "    key: [of, id]\n    columns: {of: string, id: int64}\n"
        )
        manifest = extract(load_source(file, {}), lake, "rows_of", DAYS[2:], NOW)[0]
    assert came == [str(value) for value in ODD]
    landed = key_rows(lake, manifest.files, ["of"])["of"].to_pylist()
    assert sorted(landed) == sorted(came)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("repos/{each|path}/issues", "issues", "since the request has no {each}: put it into"),
        ("each: {values: [acme/rocket", "each: {values: [duck/db", "'duck/db' stands here twice"),
        ("values: [acme/rocket, acme/sled, duck/db, duck/empty]", "values: ''", "at least 1"),
        ("[acme/rocket, acme/sled,", "[true, acme/sled,", "got True: put it into quotes"),
        ("[acme/rocket, acme/sled,", "['', acme/sled,", "got '': put it into quotes, or take it"),
        ("[acme/rocket, acme/sled,", f"[{10**30}, a,", "put it into quotes"),
        ("[acme/rocket, acme/sled,", "[acme/../x, a,", "'acme/../x' of `each` would lead out of"),
        ("request: {", "request: {headers: {x-of: '{each}ü'}, ", "a letter beyond ASCII"),
        ("[acme/rocket, acme/sled,", "[acme/ü, a,", "'acme/ü' of `each` would go into a header"),
        (", column_here: repository,", ",", "a sweep needs `each.column_here`"),
        ("    each:", "    # each:", "has no `each`: add `each: {values: […]}`"),
        ("column_here: repository", "column_here: repo", "column_here `repo` needs a declared"),
        ("{repository: string", "{repository: int64", "can't hold the value 'acme/rocket'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    source_of("http://127.0.0.1:1", tmp_path)
    file = tmp_path / "forge.yaml"
    text = file.read_text().replace(old, new)
    if "into a header" in said:
        text = text.replace("request: {", "request: {headers: {x-of: '{each}'}, ")
    if "a sweep" in said:
        text = text.replace("[repository, number]", "[number]") + "    sweep: true\n"
        text = text.replace("repository: string, ", "")
    if "no `each`" in said:
        text = text.replace("[repository, number]", "[number]").replace("repository: string, ", "")
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_source(file, {})
    assert said in str(caught.value)


class Issues:
    """Issues of two repositories by `since`; a page that begins at ``refused`` is refused."""

    def __init__(self) -> None:
        self.refused: str | None = None
        self.app = Starlette(routes=[Route("/issues", self.answer)])

    @staticmethod
    def rows(repo: str) -> list[dict[str, Any]]:
        # Two issues a minute, so that pages share the rows of their last minute.
        return [
            {"id": n, "name": f"{repo}{n}", "at": f"2026-11-05T01:{n // 2:02}:00Z"}
            for n in range(60)
        ]

    async def answer(self, request: Request) -> Response:
        given = request.query_params
        if given["repo"] == "b" and given.get("since") == self.refused:
            return JSONResponse({}, 403)
        rows = [row for row in self.rows(given["repo"]) if given.get("since", "") <= row["at"]]
        return JSONResponse(rows[: int(given["n"])])


def test_pages_by_the_cursor_go_on_inside_a_value_whose_column_is_in_the_key(lake: Lake) -> None:
    api = Issues()
    with serving(api.app) as url:
        source = source_of_text(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-05
            endpoints:
              issues:
                key: [repo, id]
                each: {{values: [a, b], column_here: repo}}
                cursor: at
                columns: {{repo: string, id: int64, at: "timestamp[iso]"}}
                request: {{params: {{repo: "{{each}}", since: "{{start}}", n: "{{limit}}"}}}}
                window: {{end: none, format: "%Y-%m-%dT%H:%M:%SZ"}}
                paging: {{kind: cursor, limit: 10}}
                batch_rows: 10
            """
        )
        day, now = ["2026-11-05"], datetime(2026, 11, 6, 1, tzinfo=UTC)
        api.refused = "2026-11-05T01:20:00Z"
        outcome, _ = outcome_of(source, lake, "issues", day, now, run_id="one")
        assert outcome.failed
        api.refused = None
        outcome, _ = outcome_of(source, lake, "issues", day, now, run_id="one", attempt=2)
    assert not outcome.failed
    assert outcome.results[0].manifest.resumed_pages
    names = dataset(lake, "api", "issues").to_table()["name"].to_pylist()
    assert sorted(names) == sorted(row["name"] for of in "ab" for row in api.rows(of))
