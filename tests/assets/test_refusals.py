"""Sources that Dagster refuses, and those that can't be loaded, beside one that is sound."""

import runpy
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from assets.refusals import _reasons
from pipeline.config import Source, load_all
from sourcetool.deployment import validate
from tests.assets.support import ROOT

SETTINGS = {"HEADRACE_LAKE": "s3://lake/headrace"}
GOOD = dg.AssetKey(["good", "things"])
ENDPOINT = "  {name}: {{paging: {{kind: none}}, key: [id], columns: {{id: int64}}{more}}}\n"
TABLE = (
    ", tables: {items: {rows: items, key: [of, n], columns: "
    "{of: {type: int64, from: parent.id}, n: {type: int64, from: position}}}}"
)


def yaml(source: str, *endpoints: str, more: str = "") -> str:
    """The YAML of a source; an endpoint may have more of its own behind its name."""
    head = f"source: {source}\nbase_url: https://api.test/v1\nstart: 2026-11-01\n{more}\nendpoints:"
    pairs = [(name, own) for name, _, own in (each.partition(",") for each in endpoints)]
    return f"{head}\n" + "".join(
        ENDPOINT.format(name=name, more=own and f",{own}") for name, own in pairs
    )


Build = Callable[[Mapping[str, str]], dg.Definitions]


@pytest.fixture(scope="module")
def build() -> Build:
    """The composition root's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (SETTINGS | {"HEADRACE_SOURCES": "sources/usgs.yaml"}).items():
            patch.setenv(name, value)
        patch.setenv("USGS_START", "2026-11-19")
        build: Build = runpy.run_path(str(ROOT / "definitions.py"))["build"]
    return build


@pytest.fixture
def load(build: Build, tmp_path: Path) -> Callable[..., dg.Definitions]:
    """Loads some sources beside a sound one, which is always there."""

    def of(*texts: str, **settings: str) -> dg.Definitions:
        for number, text in enumerate((yaml("good", "things"), *texts)):
            (tmp_path / f"{number}.yaml").write_text(text)
        defs = build(SETTINGS | {"HEADRACE_SOURCES": str(tmp_path)} | settings)
        dg.Definitions.validate_loadable(defs)
        assert GOOD in defs.resolve_all_asset_keys()
        return defs

    return of


def broken(defs: dg.Definitions) -> dict[str, str]:
    """By the name of a source that is not loaded, why."""
    graph = defs.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    marked = [node for node in nodes if "headrace/not_loaded" in node.tags]
    return {node.key.path[0]: str(node.description) for node in marked}


NAMES = [
    *("meta", "config", "type", "class", "import", "input", "int", "float", "dict", "context"),
    *("conf", "del", "global", "sync", "maintenance", "clean_lake", "tell_dagster", "headrace"),
    *("headrace_budgets", "good_extract", "good_sweeps", "api"),
]


def test_a_source_may_have_any_name(load: Callable[..., dg.Definitions]) -> None:
    defs = load(*(yaml(name, "things, sweep: true", "not_loaded", "budgets") for name in NAMES))
    assert broken(defs) == {}
    assert {(name, "things") for name in NAMES} <= {
        tuple(key.path) for key in defs.resolve_all_asset_keys()
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (yaml("x", "games, sweep: true", "games_gone"), "endpoint games_gone: the deletions of"),
        (yaml("x", f"orders{TABLE}", "orders__items"), "Dagster calls the table `items` of"),
        (yaml("x", "games, deps: [x/games]"), "Dagster refuses the source `x`: "),
        (yaml("x", "games", more="owners: [a@b.c]"), "Dagster refuses the source `x`: "),
    ],
)
def test_what_dagster_refuses_takes_down_itself_alone(
    load: Callable[..., dg.Definitions], text: str, reason: str
) -> None:
    defs = load(text)
    assert broken(defs).keys() == {"x"}
    assert reason in broken(defs)["x"]
    assert "1.yaml" in broken(defs)["x"]


def test_sources_that_do_not_go_together_take_down_themselves_alone(
    load: Callable[..., dg.Definitions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two whose endpoints depend on each other, and three."""
    pairs = [("x", "y"), ("y", "x"), ("one", "two"), ("two", "three"), ("three", "one")]
    defs = load(*(yaml(name, f"a, deps: [{other}/a]") for name, other in pairs))
    reasons = broken(defs)
    assert "1.yaml: Dagster refuses the source `x` beside `y`: " in reasons["x"]
    assert "2.yaml: Dagster refuses the source `y` beside `x`: " in reasons["y"]
    assert reasons.keys() - {"x", "y"} == {"three"}, "of a circle of three the last"
    monkeypatch.setenv("HEADRACE_SOURCES", str(tmp_path))
    console = Console(record=True, width=300, quiet=False)
    assert validate(console) == 1
    text = console.export_text()
    assert "✓ good: 1 endpoint" in text
    assert "2.yaml: Dagster refuses the source `y` beside `x`: " in text


def test_those_that_collide_are_found_at_the_cost_of_some_loads_of_all(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yaml("x", "things"))
    (source,) = load_all((str(tmp_path),), {}).sources
    sources = [source.model_copy(update={"source": f"s{i}"}) for i in range(64)]
    collide: list[set[str]] = [{"s3", "s62"}, {"s62", "s40"}, {"s7"}, {"s10", "s20", "s30"}]
    resolved = 0

    def refusal(*some: Source) -> Exception | None:
        nonlocal resolved
        resolved += len(some)
        names = {each.source for each in some}
        clash = next((names for each in collide if each <= names), None)
        return ValueError("they collide") if clash else None

    reasons = _reasons(sources, refusal)
    assert reasons.keys() == {"s3", "s40", "s62", "s7", "s30"}, "of three the last"
    assert "`s62` beside `s3`, `s40`: " in reasons["s62"]
    assert "`s40` beside `s62`: " in reasons["s40"]
    assert resolved < 24 * len(sources)


def test_a_broken_source_takes_no_other_s_name(load: Callable[..., dg.Definitions]) -> None:
    defs = load(yaml("good_broken", "things"), "source: good\nbase_url: nonsense\n")
    assert broken(defs).keys() == {"good_broken_broken"}


def test_what_is_wrong_with_no_source_is_an_error(
    load: Callable[..., dg.Definitions],
) -> None:
    with pytest.raises(Exception, match="HEADRACE_EXECUTOR"):
        load(HEADRACE_EXECUTOR="nothing")


TIMED = """schedule: {hour: 5, minute: 10, running: true}
timezone: Europe/Berlin
auth: {kind: bearer, token: "${SHOP_TOKEN}"}"""


def test_the_schedule_of_a_broken_source_goes_on(load: Callable[..., dg.Definitions]) -> None:
    def schedule(text: str, **settings: str) -> tuple[object, ...]:
        defs = load(text, **settings)
        found = defs.resolve_schedule_def("shop_daily_schedule")
        assert isinstance(found, dg.ScheduleDefinition)
        return found.default_status.value, found.cron_schedule, found.execution_timezone

    as_it_is = schedule(yaml("shop", "things", more=TIMED), SHOP_TOKEN="a-token")
    assert as_it_is == ("RUNNING", "10 5 * * *", "Europe/Berlin")
    assert schedule(yaml("shop", "things", more=TIMED)) == as_it_is
    assert schedule(yaml("shop", "things", more=TIMED + "\nowners: [a@b.c]")) == as_it_is
    off = TIMED.replace("running: true", "running: false")
    assert schedule(yaml("shop", "things", more=off)) == ("STOPPED", *as_it_is[1:])
    assert schedule("source: shop\nschedule: {hour: 5, minute: x}\n") == (
        "STOPPED", "30 5 * * *", "UTC",
    )  # fmt: skip
    for unreadable in ("schedule: [", "schedule: {running: maybe}", "schedule: 5"):
        assert schedule(f"source: shop\n{unreadable}\n") == ("RUNNING", "30 1 * * *", "UTC")
