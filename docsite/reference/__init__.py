"""The pages of the reference that are made from the code: a module a page.

Each has ``page() -> str``, Markdown. ``PAGES`` maps its path in the site to it.

- ``column_types``, ``settings``, ``command_lines``, ``checks``, ``manifest``,
  ``errors``: the pages;
- ``markdown``: pieces of Markdown.
"""

from docsite.reference import checks, column_types, command_lines, errors, manifest, settings

PAGES = {
    "docs/reference/types.md": column_types.page,
    "docs/reference/settings.md": settings.page,
    "docs/reference/commands.md": command_lines.page,
    "docs/reference/checks.md": checks.page,
    "docs/reference/manifest.md": manifest.page,
    "docs/reference/errors.md": errors.page,
}


def generated() -> dict[str, str]:
    """Maps the path of each page, below the site's folder of pages, to its Markdown."""
    return {path: page() for path, page in PAGES.items()}
