"""Synthetic rows: the same from the same seed, spread over time as promised, changed as told."""

import orjson
import pytest

from emulator.changes import change_rows
from emulator.data import DAY_S, Timeline
from emulator.fields import UNDATED
from emulator.query import Query, QueryError
from emulator.schema import ENDPOINTS, sizes
from emulator.settings import EmulatorSettings
from emulator.store import Store

UNTIL_S = 1_788_220_800


def store(games: int = 2_000, seed: int = 1) -> Store:
    return Store(sizes(games), seed, Timeline(UNTIL_S))


def test_the_endpoints_of_igdb() -> None:
    assert len(ENDPOINTS) == 69
    assert len(UNDATED) == 20
    assert {name for name, e in ENDPOINTS.items() if not e.dated} == set(UNDATED)
    targets = {field.target for e in ENDPOINTS.values() for field in e.fields} - {""}
    assert targets <= set(ENDPOINTS)


def test_sizes_stay_in_proportion() -> None:
    small = sizes(20_000)
    assert small["covers"] == 18_000
    assert (small["platforms"], small["genres"]) == (220, 23)
    assert sum(small.values()) == pytest.approx(60_000, rel=0.06)
    assert sum(sizes(20_000, small=False).values()) > 300_000
    assert sizes(10, given={"covers": 3})["covers"] == 3


@pytest.mark.slow
def test_a_seed_determines_every_row() -> None:
    for name in ENDPOINTS:
        first, second = (list(store(20).table(name).rows()) for _ in range(2))
        assert first == second
        ids = store(20).table(name).ids
        assert [row["id"] for row in first] == ids == sorted(set(ids))
        fields = ENDPOINTS[name].field_names
        assert all(set(row) <= fields and None not in row.values() for row in first)
    names = [[r["name"] for r in store(20, seed=s).table("games").rows()] for s in (1, 2)]
    assert names[0] != names[1]


def test_games_look_like_games() -> None:
    everything = store()
    table = everything.table("games")
    rows = list(table.rows())
    assert 800 < sum(len(orjson.dumps(row)) for row in rows) / len(rows) < 1_300
    assert rows[-1]["id"] != len(rows)
    assert len({row["checksum"] for row in rows}) == len(rows)
    seen = {name for row in rows for name in row}
    assert len(seen) > 55
    for field in ENDPOINTS["games"].fields:
        if field.target:
            values = [row[field.name] for row in rows if field.name in row]
            ids = {i for v in values for i in (v if isinstance(v, list) else [v])}
            assert ids <= set(everything.table(field.target).ids), field.name


def test_changes_are_spread_over_time() -> None:
    rows = list(store(10_000).table("games").rows())
    times = [row["updated_at"] for row in rows if "updated_at" in row]
    assert len(rows) - len(times) == 2
    assert max(t for t in times if isinstance(t, int)) < UNTIL_S
    ages = [(UNTIL_S - 1 - t) // DAY_S for t in times if isinstance(t, int)]
    for day in range(30):
        assert 10 <= ages.count(day) <= 60
    assert all(row["created_at"] <= row["updated_at"] for row in rows if "updated_at" in row)  # type: ignore[operator]


def test_touch_upsert_and_delete() -> None:
    data = store(100)
    games = data.table("games")
    before = {id_: games.row(id_) for id_ in games.ids}
    everything = data.select("games", Query())
    touched = change_rows(data, {"endpoint": "games", "action": "touch", "count": 5}, UNTIL_S + 9)
    for id_ in touched:
        row, old = games.row(id_), before[id_]
        assert row["updated_at"] == UNTIL_S + 9
        assert row["checksum"] != old["checksum"]
        assert row["created_at"] == old["created_at"]
        changed = {k for k in row if row[k] != old.get(k)}
        assert changed > {"updated_at", "checksum"}
    (new,) = change_rows(data, {"endpoint": "games", "action": "upsert", "count": 1}, UNTIL_S + 10)
    assert new > max(before)
    row = {"id": 7, "name": "Seven", "brand_new": {"a": 1}}
    change_rows(data, {"endpoint": "games", "action": "upsert", "rows": [row]}, 0)
    assert games.row(7)["brand_new"] == {"a": 1}
    assert "brand_new" in games.field_names
    assert change_rows(data, {"endpoint": "games", "action": "delete", "ids": [new]}, 0) == [new]
    assert data.select("games", Query()) == sorted({*everything, 7})
    with pytest.raises(ValueError, match="has no rows"):
        change_rows(data, {"endpoint": "games", "action": "delete", "ids": [new]}, 0)
    with pytest.raises(QueryError, match="No endpoint 'gamez'"):
        change_rows(data, {"endpoint": "gamez", "action": "delete", "ids": [1]}, 0)


def test_settings_are_checked_before_any_is_changed() -> None:
    settings = EmulatorSettings()
    with pytest.raises(ValueError, match="no setting 'rat'"):
        settings.update({"in_flight": 2, "rat": 3})
    with pytest.raises(ValueError, match="rate: expected a whole number"):
        settings.update({"rate": 2.5})
    with pytest.raises(ValueError, match="cast as 'text'"):
        settings.update({"cast": {"endpoint": "games", "field": "hypes", "as": "text"}})
    assert settings == EmulatorSettings()
