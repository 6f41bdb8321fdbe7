"""How pages follow each other: all that differs from one kind of paging to another. Pure.

``base`` has the base of all kinds and their registry, ``page`` the request of a page and what a
page says of itself. A kind each: ``offset``, ``keyset``, ``numbered``, ``token``, ``link``,
``cursor``, ``single`` (none) and ``custom`` (python). They use ``disguised_numbers`` (tokens and
links that are numbers), ``keys`` (a key in an API's own words) and ``more`` (a flag for the end).

A new kind is one file like ``numbered``, imported here.
"""

# Each registers itself; sentences and docs name the kinds in this order.
# ruff: noqa: F401
# isort: off
from pipeline.pagination import numbered, keyset, token, link, cursor, single, custom

# isort: on
from pipeline.pagination.base import PAGINATION, Paging, SharedRows

__all__ = ["PAGINATION", "Paging", "SharedRows"]
