"""The picture of the demo: drawn from a terminal's text, and readable without a network."""

import importlib.util
import re
import xml.etree.ElementTree as ET

from local.paths import ROOT

IMAGES = ROOT / "docs" / "images"


def test_a_terminal_s_text_becomes_a_picture_that_fetches_nothing() -> None:
    spec = importlib.util.spec_from_file_location("terminal", IMAGES / "terminal.py")
    assert spec is not None
    assert spec.loader is not None
    terminal = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(terminal)
    drawn = terminal.draw("\x1b[1m▸ games\x1b[0m: 0 missing\n" + "x" * 500)
    said = "".join(ET.fromstring(drawn).itertext()).replace("\xa0", " ")  # noqa: S314  our own
    assert "make demo" in said
    assert "▸ games" in said
    assert "…" in said
    assert not fetched(drawn)


def test_the_picture_of_the_readme_is_the_demo_s_and_fetches_nothing() -> None:
    drawn = (IMAGES / "demo.svg").read_text("utf-8")
    said = "".join(ET.fromstring(drawn).itertext()).replace("\xa0", " ")  # noqa: S314  our own
    assert "20,000 rows in the API: 0 missing in the lake" in said
    assert not fetched(drawn)


def fetched(svg: str) -> list[str]:
    """Addresses that a viewer would ask."""
    return re.findall(r"(?:href|src|url)\W{1,3}https?://[^\s\"')]+", svg)
