"""`make ui`: what stays from start to start, what loads, and what is said of a port."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local import ui
from local.paths import ROOT
from local.ports import LOOPBACK, free_port
from local.process import LocalError
from local.services import seaweedfs
from local.ui import Kept, chosen_sources, has_desktop, start_page


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that a listener has."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield int(listener.getsockname()[1])


def test_what_is_kept_comes_back_and_is_for_the_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    first = Kept.read(file)
    assert (first.ui_port, first.loaded) == (3000, False)
    Kept(ui_port=3007, s3_port=11_000, secret="s", loaded=True).write(file)
    assert Kept.read(file) == Kept(3007, 11_000, 0, "s", True)
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("{")
    assert Kept.read(file).ui_port == 3000


@pytest.mark.slow
def test_the_s3_keeps_its_port(tmp_path: Path) -> None:
    with seaweedfs(tmp_path) as first:
        port = urlsplit(first.endpoint_url).port
    with seaweedfs(tmp_path, preferred_port=port) as second:
        assert second.endpoint_url == first.endpoint_url
        with seaweedfs(tmp_path / "other", preferred_port=port) as third:
            assert third.endpoint_url != first.endpoint_url


def test_a_port_that_is_asked_for_and_taken_is_one_sentence(taken: int) -> None:
    with pytest.raises(LocalError, match=rf"Port {taken} on 127.0.0.1 is taken: end the program"):
        ui.ui(taken)


def test_a_port_that_is_taken_meanwhile_is_replaced(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[int] = []
    monkeypatch.setattr(ui, "UI_STATE", tmp_path)
    monkeypatch.setattr(
        ui, "_serve_until_stopped", lambda chosen, kept, *, open_browser: served.append(chosen)
    )
    Kept(ui_port=taken).write(tmp_path / "kept.json")
    ui.ui()
    assert served != [taken]
    said = capsys.readouterr().out
    assert said == f"Port {taken} is taken by another program: the UI gets {served[0]} instead.\n"
    Kept(ui_port=free_port()).write(tmp_path / "kept.json")
    ui.ui()
    assert served[1] == Kept.read(tmp_path / "kept.json").ui_port


def test_only_sources_whose_settings_are_there_load() -> None:
    igdb = {f"IGDB_{name}": "x" for name in ("CLIENT_ID", "CLIENT_SECRET", "BASE_URL")}
    loads, left_out = chosen_sources({}, igdb)
    assert loads == "sources/igdb.yaml"
    others = {file.stem for file in (ROOT / "sources").glob("*.yaml")} - {"igdb"}
    assert {text.split()[0] for text in left_out} == others
    assert "usgs (USGS_BASE_URL)" in left_out
    loads, left_out = chosen_sources({"USGS_START": "2026-11-01"}, igdb)
    assert loads == "sources/igdb.yaml:sources/usgs.yaml"
    assert chosen_sources({"HEADRACE_SOURCES": "mine"}, igdb) == ("mine", [])


@pytest.mark.parametrize(
    ("names", "page"),
    [
        (["igdb"], "/locations/headrace/asset-groups/igdb/lineage~key%3Aigdb%2Fgames%20or%20"),
        (["shop"], "/locations/headrace/asset-groups/shop/lineage"),
        (["igdb", "shop"], "/asset-groups"),
    ],
)
def test_the_page_to_begin_with(names: list[str], page: str) -> None:
    assert start_page(names).startswith(page)


def test_a_browser_is_opened_where_there_is_a_desktop() -> None:
    assert has_desktop({"DISPLAY": ":0"})
    assert not has_desktop({"DISPLAY": ":0", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"})
