"""The documentation's site: it builds strictly, and loads nothing from elsewhere."""

import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from docsite import diagrams, look
from docsite.pages import LINK, ROOT, pages, stage
from docsite.reference import checks, column_types, errors, generated, manifest
from tests.support.copies import copy_of_project

MOST_LINES = 250
LONGER = {
    "docs/for-assistants.md": "all of the format on one page, for a model's context",
    "CHANGELOG.md": "the history: a reader searches it for a version",
}
"""Pages that may have more lines, and why."""
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Loaded(HTMLParser):
    """The addresses from which a page loads something by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in ("canonical", "next", "prev", "edit"):
            return
        self.found += [value for value in [given.get(LOADS.get(tag, ""))] if value]


def build(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "docsite", "build"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the site is made from, to build it in."""
    return copy_of_project(tmp_path_factory.mktemp("site") / "project")


@pytest.fixture(scope="module")
def site(project: Path) -> Path:
    done = build(project)
    assert done.returncode == 0, done.stdout + done.stderr
    return project / "build" / "site"


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    found: list[str] = []
    for page in site.rglob("*.html"):
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        found += [f"{page.name}: {url}" for url in parser.found if re.match(r"(?:https?:)?//", url)]
    assert len(list(site.rglob("*.html"))) > 40
    assert found == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text("utf-8"))


@pytest.mark.slow
def test_the_search_index_has_the_pages_made_from_code(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "HEADRACE_BUDGET" in index
    assert "gaps_refetched" in index


@pytest.mark.slow
def test_a_broken_link_and_a_page_outside_the_nav_fail(site: Path, project: Path) -> None:
    """All are named at once. A new page of a task is in the nav by itself, and none of them."""
    broken = {
        "[gone](nowhere.md)": "nowhere.md",
        "[gone](sources.md#no-such-part)": "no-such-part",
        "[gone](../pipeline/nothing.py)": "nothing.py",
    }
    page = project / "docs" / "glossary.md"
    before = page.read_text(encoding="utf-8")
    forgotten = project / "docs" / "forgotten.md"
    task = project / "docs" / "how-to" / "new-task.md"
    page.write_text("\n\n".join([before, *broken]), encoding="utf-8")
    forgotten.write_text("# Forgotten\n", encoding="utf-8")
    task.write_text("# A new task\n", encoding="utf-8")
    try:
        done = build(project)
    finally:
        page.write_text(before, encoding="utf-8")
        forgotten.unlink()
        task.unlink()
    said = done.stdout + done.stderr
    assert done.returncode == 1
    for found in (*broken.values(), "forgotten.md"):
        assert found in said
    assert "new-task.md" not in said


def test_no_page_is_too_long() -> None:
    long = {
        page.as_posix()
        for page in pages()
        if len((ROOT / page).read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert long - {*LONGER} == set(), "make it a folder of pages"


def test_a_link_leads_somewhere_in_a_clone_too() -> None:
    """The site has pages that are made from code, which nobody finds beside the others."""
    nowhere = [
        f"{page}: {link}"
        for page in pages()
        for link in LINK.findall((ROOT / page).read_text(encoding="utf-8"))
        if ":" not in link and not (ROOT / page.parent / unquote(link)).exists()
    ]
    assert nowhere == []


def test_staging_writes_only_what_changed(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page, image = tmp_path / "docs" / "a.md", tmp_path / "docs" / "a.svg"
    page.write_text("![a](a.svg)", encoding="utf-8")
    image.write_text("<svg/>", encoding="utf-8")
    (tmp_path / "docs" / "unseen.txt").write_text("not linked", encoding="utf-8")
    to = tmp_path / "build"
    assert [path.name for path in stage({"made.md": "# Made"}, tmp_path, to)] == [
        "a.md",
        "a.svg",
        "made.md",
    ]
    before = (to / "docs" / "a.md").stat().st_mtime_ns
    image.write_text("<svg></svg>", encoding="utf-8")
    assert [path.name for path in stage({}, tmp_path, to)] == ["a.md", "a.svg"]
    assert (to / "docs" / "a.md").stat().st_mtime_ns == before
    assert (to / "docs" / "a.svg").read_text(encoding="utf-8") == "<svg></svg>"
    assert not (to / "made.md").exists()


def test_the_diagrams_are_what_their_texts_say() -> None:
    texts = sorted(diagrams.TEXTS.glob("*.d2"))
    assert texts
    for text in texts:
        image = diagrams.IMAGES / f"{text.stem}.svg"
        assert image.read_bytes() == diagrams.draw(text), "python -m docsite diagrams"


# ---- the pages that are made from code


def test_every_type_of_a_column_is_there() -> None:
    names = [name for name, _, _ in column_types.rows()]
    assert {"bool", "decimal(p, s)", "timestamp[iso]", "timestamp[dotnet]", "json"} <= {*names}
    assert all(reads and lands for _, reads, lands in column_types.rows())


def test_all_metadata_is_there_and_nothing_else() -> None:
    assert {"proof", "late_rows", "values_behind"} <= {*checks.names()}
    assert {*checks.MEANINGS} - {*checks.names()} == set()


def test_all_of_the_manifest_has_a_meaning() -> None:
    page = manifest.page()
    assert "|  |" not in page
    assert '"rests_on": "keys"' in page


@pytest.mark.slow
def test_errors_are_there_by_their_text() -> None:
    found = errors.messages()
    assert any("outside the requested window" in text for text in found["ContractBroken"])
    assert any("is not set" in text for text in found["ConfigError"])


def test_each_page_has_one_title() -> None:
    for path, text in generated().items():
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, path


# ---- in a browser


@pytest.mark.slow
def test_the_site_shows_without_an_error_and_without_a_network(site: Path, tmp_path: Path) -> None:
    with look.eyes() as page:
        for width in look.WIDTHS:
            for name, text in look.SHOWN.items():
                seen = look.look(page, name, text, width, site)
                assert seen == look.Look((), (), 0), (name, width)
        look.search(page, "watermark")
        deadline = time.monotonic() + 60
        while "matching documents" not in page.text():
            assert time.monotonic() < deadline, "search finds nothing"
            time.sleep(0.2)
    made = look.pictures(tmp_path, site)
    assert [file.name for file in made] == ["site-1400.png", "site-400.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in made)
