"""Each page that uses a word of the glossary links it: best where it uses the word first."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GLOSSARY = DOCS / "glossary.md"
# Words that a reader of Dagster or of S3 does not bring along.
WORDS = (
    "window", "safety margin", "watermark", "baseline", "snapshot", "generation", "completeness",
    "late row", "budget", "checkpoint", "fan-out", "lane",
)  # fmt: skip
WITHOUT_LINKS = {"glossary.md", "for-assistants.md", "catalogue.md"}
PAGES = [
    DOCS.parent / "README.md",
    *(page for page in sorted(DOCS.glob("*.md")) if page.name not in WITHOUT_LINKS),
    *sorted(
        page
        for room in ("explanation", "how-to", "reliability", "tutorial")
        for page in (DOCS / room).glob("*.md")
    ),
]
# Code, headings, links and images, HTML, the head of a table: no link is put there.
_NO_PROSE = re.compile(
    r"```.*?```|~~~.*?~~~|<!--.*?-->|^ {4,}.*?$|^#.*?$|^\|[^\n]*\n(?=\|[ :|-]+\n)|^---$.*?^---$"
    r"|`[^`\n]*`|!?\[[^\]]*\]\([^)]*\)|!?\[[^\]]*\]\[[^\]]*\]|<[^>\n]*>|^!!!.*?$|^\[[^\]]*\]:.*?$",
    re.DOTALL | re.MULTILINE,
)


def anchor_of(word: str) -> str:
    return word.replace(" ", "-")


def link_to(word: str, page: Path) -> str:
    """The target of a link on this page."""
    return f"{Path(os.path.relpath(GLOSSARY, page.parent)).as_posix()}#{anchor_of(word)}"


def without_link(page: Path) -> Iterator[tuple[str, re.Match[str]]]:
    """Words that the page uses and does not link, and the first use of each."""
    text = page.read_text(encoding="utf-8")
    prose = _NO_PROSE.sub(lambda found: re.sub(r"[^\n]", "\0", found[0]), text)
    for word in WORDS:
        used = re.search(rf"(?<![\w-]){word}s?(?![\w-])", prose, re.IGNORECASE)
        if used is not None and f"]({link_to(word, page)})" not in text:
            yield word, used


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_a_page_links_the_words_that_it_uses(page: Path) -> None:
    lines = [
        f"{page.name}:{page.read_text(encoding='utf-8').count(chr(10), 0, used.start()) + 1}: "
        f"write [{used[0]}]({link_to(word, page)})"
        for word, used in without_link(page)
    ]
    assert lines == []


def test_each_word_has_its_place_in_the_glossary() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    for word in WORDS:
        assert f'| <a id="{anchor_of(word)}"></a>*{word}* |' in text
