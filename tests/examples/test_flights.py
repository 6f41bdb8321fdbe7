"""`examples/flights`: real rows behind a server that others wrote, over sockets, into a real S3."""

import asyncio
import csv
import io
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from examples.flights.database import csv_path
from examples.flights.testing import flights_api
from local.paths import ROOT
from local.services import S3, child_env, seaweedfs
from pipeline import ratelimit
from pipeline.config import Source, load_source
from pipeline.errors import ContractBroken
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.checkpoint import load, save
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.read import Between, current, dataset, manifests
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source
from tests.support.clock import at_once

pytestmark = pytest.mark.slow

YAML = ROOT / "examples" / "flights" / "sources" / "flights.yaml"
NAME = "flights"
KEY = ("time_hour", "carrier", "flight")
TEXT = ("carrier", "tailnum", "origin", "dest")
LATER = datetime(2020, 1, 1, tzinfo=UTC)
LIMITS = ratelimit.Limits((ratelimit.RateWindow(10_000, 1.0),), in_flight=4)
_numbers = count()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with seaweedfs(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flights")


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[str]:
    with flights_api(folder) as base_url:
        yield base_url


@pytest.fixture
def lake(s3: S3) -> Lake:
    return Lake(s3.client(), f"s3://lake/flights-{next(_numbers)}")


@pytest.fixture
def source(api: str, tmp_path: Path) -> Callable[..., Source]:
    """The example's source, as it ships or with pieces of its YAML replaced."""

    def make(*replaced: tuple[str, str]) -> Source:
        text = YAML.read_text()
        for old, new in replaced:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "flights.yaml"
        path.write_text(text)
        return load_source(path, {"FLIGHTS_BASE_URL": api})

    return make


@pytest.fixture(scope="module")
def expected() -> list[dict[str, Any]]:
    """The CSV's rows, in order of the key, as the lake should have them."""
    with zipfile.ZipFile(csv_path()) as packed, packed.open("flights.csv") as raw:
        rows = [_typed(row) for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8"))]
    return sorted(rows, key=_key)


def _typed(row: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: None if text == "NA" else text if name in TEXT else int(text)
        for name, text in row.items()
        if name != "time_hour"
    }
    day = date(found["year"], found["month"], found["day"])
    return found | {"date": day, "time_hour": datetime.fromisoformat(row["time_hour"])}


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _between(rows: list[dict[str, Any]], first: str, last: str) -> list[dict[str, Any]]:
    return [row for row in rows if first <= row["date"].isoformat() <= last]


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.drop_columns(["_extracted_at"]).to_pylist(), key=_key)


def _days(first: str, days: int) -> list[str]:
    return [(date.fromisoformat(first) + timedelta(days=i)).isoformat() for i in range(days)]


async def _session(
    source: Source, lake: Lake, days: Sequence[str], outcome: RunOutcome, now: datetime, run_id: str
) -> int:
    """Run the engine; how many requests that took."""
    async with open_client(source, ratelimit.open_budget(NAME, LIMITS, "memory")) as client:
        run = RunContext(source, lake, client, run_id, lambda: now, sleep=at_once)
        await run_source(run, [NAME], days, outcome)
        return client.budget.stats.requests


def _extract(
    source: Source, lake: Lake, days: Sequence[str], *, now: datetime = LATER
) -> list[Manifest]:
    outcome = RunOutcome()
    asyncio.run(_session(source, lake, days, outcome, now, f"run-{next(_numbers)}"))
    if outcome.failed:
        raise outcome.failed[0].error
    assert [receipt.outcome for receipt in outcome.results] == ["committed"] * len(days)
    return [receipt.manifest for receipt in outcome.results]


def test_every_row_of_a_range_of_days(
    source: Callable[..., Source], lake: Lake, expected: list[dict[str, Any]]
) -> None:
    days = _days("2013-01-01", 31)
    found = _extract(source(), lake, days)

    assert [m.partition for m in found] == days
    assert all(check["passed"] for m in found for check in m.checks)
    assert all(m.proof.contiguous and m.proof.pages >= 2 for m in found)
    assert all(m.margin_rows == m.late_rows == 0 for m in found)
    table = dataset(lake, NAME, NAME).to_table()
    assert table.num_rows == 27_004
    assert _rows(table) == _between(expected, "2013-01-01", "2013-01-31")
    assert table.schema.field("date").type == pa.date32()
    one = dataset(lake, NAME, NAME, Between("2013-01-09", "2013-01-09")).to_table()
    assert _rows(one) == _between(expected, "2013-01-09", "2013-01-09")


def test_a_day_read_at_noon_is_read_again_by_the_next(
    source: Callable[..., Source], lake: Lake, expected: list[dict[str, Any]]
) -> None:
    """A date says nothing of the hour: the window begins with the whole day that was cut short."""
    noon = datetime(2013, 1, 2, 12, 0, tzinfo=UTC)
    _, second = _extract(source(), lake, _days("2013-01-01", 2), now=noon)
    # The day before the third is not part of this run: what it left open is.
    first, third = _extract(source(), lake, ["2013-01-01", "2013-01-03"])

    assert second.watermark == "2013-01-02T12:00:00Z"
    assert third.window.start == datetime(2013, 1, 2, tzinfo=UTC)
    assert (third.margin_rows, third.late_rows) == (second.rows, 0)
    assert (first.rows, third.rows) == (842, 943 + 914)
    table = current(lake, NAME, NAME, key=KEY, cursor="date")
    assert _rows(table) == _between(expected, "2013-01-01", "2013-01-03")


def test_a_margin_of_a_day(
    source: Callable[..., Source], lake: Lake, expected: list[dict[str, Any]]
) -> None:
    wide = source(("safety_margin_s: 0", "safety_margin_s: 86400"))
    found = _extract(wide, lake, _days("2013-01-01", 3))

    assert [m.rows for m in found] == [842, 842 + 943, 943 + 914]
    assert [m.margin_rows for m in found] == [0, 842, 943]
    assert [m.late_rows for m in found] == [0, 0, 0]
    table = current(lake, NAME, NAME, key=KEY, cursor="date")
    assert _rows(table) == _between(expected, "2013-01-01", "2013-01-03")


@pytest.mark.parametrize(
    "misspelt",
    [
        [("date__gte:", "date__gtee:"), ("date__lt:", "date__ltt:")],
        [("date__gte:", "date__gtee:")],
        [("date__lt:", "date__ltt:")],
        [("date__gte:", "dat__gte:")],
    ],
    ids=["both", "start", "end", "column"],
)
def test_a_misspelt_filter_is_caught(
    source: Callable[..., Source], lake: Lake, misspelt: list[tuple[str, str]]
) -> None:
    """Datasette ignores it without a word, and answers with rows of all days."""
    with pytest.raises(
        ContractBroken, match=r"`date` = 2013-.* outside the requested window \(2013-01-05T.*ignore"
    ):
        _extract(source(*misspelt), lake, ["2013-01-05"])
    assert manifests(lake, NAME, NAME) == []


def test_an_ignored_token_is_caught(source: Callable[..., Source], lake: Lake) -> None:
    with pytest.raises(ContractBroken, match="came again as the page after it"):
        _extract(source(("_next:", "_nxt:")), lake, ["2013-01-05"])


# ---- a run that is stopped in the middle of its chain of tokens

JANUARY = "2013-01-31"
PAGES = 55  # 27,004 rows, 500 a page


def _stopped(source: Source, lake: Lake, rows: int) -> None:
    """Start on the baseline, and stop for good when so many rows have come."""
    outcome = RunOutcome()
    progress = outcome.progress.setdefault((NAME, JANUARY), ExtractionProgress())

    async def stop() -> None:
        session = asyncio.create_task(_session(source, lake, [JANUARY], outcome, LATER, "first"))
        while progress.rows < rows and not session.done():  # noqa: ASYNC110 - the engine has no event
            await asyncio.sleep(0.005)
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)

    asyncio.run(stop())
    assert not outcome.results
    assert manifests(lake, NAME, NAME) == []


def _january(source: Callable[..., Source]) -> Source:
    """All of January in the baseline, in files of 5,000 rows."""
    return source(
        ("start: 2013-01-01", f"start: {JANUARY}"),
        ("    rows: rows\n", "    rows: rows\n    batch_rows: 5000\n"),
    )


def test_a_chain_goes_on_where_it_was_stopped(
    source: Callable[..., Source], lake: Lake, expected: list[dict[str, Any]]
) -> None:
    january = _january(source)
    _stopped(january, lake, 12_000)
    outcome = RunOutcome()
    requests = asyncio.run(_session(january, lake, [JANUARY], outcome, LATER, "second"))

    assert not outcome.failed
    (manifest,) = manifests(lake, NAME, NAME)
    assert manifest.resumed_pages >= 20
    assert requests == PAGES - manifest.resumed_pages
    assert manifest.proof.contiguous
    assert manifest.proof.pages == PAGES
    table = dataset(lake, NAME, NAME).to_table()
    assert _rows(table) == _between(expected, "2013-01-01", JANUARY)


def test_a_resumed_chain_whose_count_does_not_agree_starts_over(
    source: Callable[..., Source], lake: Lake, expected: list[dict[str, Any]]
) -> None:
    january = _january(source)
    _stopped(january, lake, 12_000)
    place = PartitionPaths(NAME, NAME, JANUARY)
    held = load(lake, place)
    assert held is not None
    assert held.checkpoint is not None
    *before, last = held.checkpoint.batches
    last.progress["position"]["counts"]["received"][-1][1] -= 1  # as if a row had gone meanwhile
    save(lake, place, held.checkpoint.next(batches=(*before, last)), replaces=held.etag)

    outcome = RunOutcome()
    requests = asyncio.run(_session(january, lake, [JANUARY], outcome, LATER, "second"))

    assert not outcome.failed
    assert requests > PAGES
    (manifest,) = manifests(lake, NAME, NAME)
    assert manifest.proof.contiguous
    assert manifest.resumed_pages == 0
    table = dataset(lake, NAME, NAME).to_table()
    assert _rows(table) == _between(expected, "2013-01-01", JANUARY)


# ---- the server, and the whole of it as the README tells it


def _serve(*options: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "examples.flights", "serve", *map(str, options)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=child_env())


def _first_line(server: "subprocess.Popen[bytes]") -> str:
    assert server.stdout is not None
    return server.stdout.readline().decode()


@pytest.mark.usefixtures("api")  # it has made the database
def test_the_server_ends_with_its_parent(folder: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with _serve("--dir", folder, "--parent-pid", parent.pid) as server:
        assert "http://127.0.0.1:" in _first_line(server)
        parent.communicate(b"\n")
        assert server.wait(20) == 0


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_stops_when_told(folder: Path, number: signal.Signals) -> None:
    with _serve("--dir", folder) as server:
        _first_line(server)
        server.send_signal(number)
        assert server.wait(20) == 0


@pytest.mark.usefixtures("api")
def test_the_readme_does_what_it_says(folder: Path, expected: list[dict[str, Any]]) -> None:
    """Its three commands: serve, materialize through Dagster, read back."""
    text = (YAML.parents[1] / "README.md").read_text()
    serve, *others = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert "examples.flights serve --lake\n" in serve
    with _serve("--lake", "--dir", folder) as server:
        try:
            _first_line(server)
            said = [_said(block.replace(".local/flights", str(folder))) for block in others]
        finally:
            server.terminate()
    january = _between(expected, "2013-01-01", "2013-01-31")
    assert said[-1].strip() in text
    assert f" {len(january)} " in said[-1]


def _said(block: str) -> str:
    python = f"{sys.executable} "
    env = child_env({"PYTHONWARNINGS": "ignore"})
    command = block.replace(".venv/bin/python ", python)
    done = subprocess.run(
        ["sh", "-ec", command], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
