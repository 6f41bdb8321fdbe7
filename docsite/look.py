"""Look at the built site in headless Chromium: what fails, what is too wide, what search finds."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from docsite.diagrams import IMAGES
from docsite.pages import SITE
from local.browser import Browser, browser

WIDTHS = (1400, 400)
HEIGHT = 800
SHOWN = {"index.html": "Headrace", "docs/how-to/paging.html": "Paging"}
"""Pages that are looked at, each with a text that it shows."""
PICTURED = "docs/how-to/paging.html"
_LISTEN = """
window.failed = [];
addEventListener("error", e => failed.push(e.message || "not loaded: " +
  (e.target.src || e.target.href)), true);
addEventListener("unhandledrejection", e => failed.push(String(e.reason)));
const say = console.error;
console.error = (...all) => { failed.push(all.join(" ")); say(...all); };
"""
_SEARCH = """
document.querySelector("[data-md-toggle=search]").click();
const field = document.querySelector("[data-md-component=search-query]");
field.focus(); field.value = %s;
field.dispatchEvent(new Event("keyup"));
"""


@dataclass(frozen=True)
class Look:
    """What was seen of one page.

    :ivar failed: errors of scripts, and what could not be loaded.
    :ivar elsewhere: addresses that were loaded and are no files of the site.
    :ivar too_wide: by how many pixels the page is wider than the window.
    """

    failed: tuple[str, ...]
    elsewhere: tuple[str, ...]
    too_wide: int


@contextmanager
def eyes() -> Iterator[Browser]:
    """A browser that notes what fails."""
    with browser() as page:
        page.call("Page.enable")
        page.call("Page.addScriptToEvaluateOnNewDocument", source=_LISTEN)
        yield page


def look(page: Browser, name: str, text: str, width: int, site: Path = SITE) -> Look:
    """Open a page of the site from its file, as wide as ``width`` pixels."""
    page.open((site / name).as_uri(), text, width, HEIGHT)
    loaded = json.loads(
        page.evaluate("JSON.stringify(performance.getEntriesByType('resource').map(r => r.name))")
    )
    return Look(
        tuple(json.loads(page.evaluate("JSON.stringify(failed)"))),
        tuple(url for url in loaded if not url.startswith((site.as_uri(), "data:", "blob:"))),
        int(page.evaluate("document.documentElement.scrollWidth - innerWidth")),
    )


def search(page: Browser, words: str) -> None:
    """Type into the search of the page that is open."""
    page.evaluate(_SEARCH % json.dumps(words))


def pictures(to: Path = IMAGES, site: Path = SITE) -> list[Path]:
    """Write a picture of the site in each width; returns the files."""
    files = []
    with eyes() as page:
        for width in WIDTHS:
            look(page, PICTURED, SHOWN[PICTURED], width, site)
            files.append(to / f"site-{width}.png")
            page.picture(files[-1])
    return files
