"""Bring the pages of the site, and the files that they link to, into one folder.

The folder has the tree of the project, so that a link of a page leads to the same file in the site
as in the project. Only files whose content changed are written: a server that watches them rebuilds
once.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "docs"
SITE = ROOT / "build" / "site"
# Folders and files outside `docs/` whose Markdown is part of the site.
OUTSIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "deploy", "benchmarks")
EXAMPLES = "examples"
AS_THEY_ARE = ("llms.txt", "docs/assets/*")
"""Files that no page links to, as patterns."""
LINK = re.compile(r"\]\(([^)#\s]+)")
SNIPPET = re.compile(r'^\s*--8<--\s+"([^"]+)"', re.MULTILINE)


def pages(root: Path = ROOT) -> list[Path]:
    """The Markdown files of the site, as paths below ``root``."""
    found: set[Path] = set()
    for name in ("docs", EXAMPLES, *OUTSIDE):
        place = root / name
        found |= {place} if place.is_file() else set(place.rglob("*.md"))
    return sorted(path.relative_to(root) for path in found)


def linked(page: Path, root: Path = ROOT) -> Iterator[Path]:
    """The files of the project that a page links to or includes, as paths below ``root``.

    A link that leads nowhere is left to MkDocs, which names the page and fails the build.
    """
    text = (root / page).read_text(encoding="utf-8")
    targets = [root / page.parent / unquote(link) for link in LINK.findall(text) if ":" not in link]
    targets += [root / name for name in SNIPPET.findall(text)]
    for target in targets:
        resolved = target.resolve()
        if resolved.is_file() and resolved.is_relative_to(root):
            yield resolved.relative_to(root)


def stage(made: dict[str, str], root: Path = ROOT, to: Path = STAGE) -> list[Path]:
    """Make ``to`` hold the pages, what they link to, and the pages that code has made.

    ``made`` maps a path below ``to`` to its text. Returns what ``to`` holds, as paths below it.
    """
    written = {path for page in pages(root) for path in (page, *linked(page, root))}
    for pattern in AS_THEY_ARE:
        written |= {path.relative_to(root) for path in root.glob(pattern)}
    for path in written:
        _write(to / path, (root / path).read_bytes())
    for name, text in made.items():
        _write(to / name, text.encode())
        written.add(Path(name))
    for old in [path for path in to.rglob("*") if path.is_file()]:
        if old.relative_to(to) not in written:
            old.unlink()
    return sorted(written)


def clear(to: Path = STAGE) -> None:
    """Remove the folder, for a build from nothing."""
    shutil.rmtree(to, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
