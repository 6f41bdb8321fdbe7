"""How pages follow each other: all that differs from one kind of paging to another. Pure.

``base`` has the base of all kinds and their registry, ``page`` the request of a page and what a
page says of itself, ``more_flag`` the member that says whether another one follows. The kinds:
``numbered`` (offset and page), ``keyset``, ``token``, ``link``, ``cursor``, ``single`` (none) and
``custom`` (python).

A new kind is one file like ``numbered``, imported here.
"""

# Each registers itself; sentences and docs name the kinds in this order.
# isort: off
from pipeline.pagination import numbered, keyset, token, link, cursor, single, custom

# isort: on
from pipeline.pagination.base import PAGINATION, Paging, SharedRows

__all__ = [
    "PAGINATION", "Paging", "SharedRows",
    "cursor", "custom", "keyset", "link", "numbered", "single", "token",
]  # fmt: skip
