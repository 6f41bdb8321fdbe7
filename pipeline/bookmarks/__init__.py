"""Bookmarks: cursors that are no time. A partition starts where the one before it ended, in the
API's own terms: a number that only rises, or a change token. Pure.

``base`` has the base of all kinds and their registry. The kinds: ``number``, and in
``change_token`` token and link. Why they are one mechanism: docs/decisions/0020-bookmarks.md.
"""

# Each registers itself; sentences and docs name the kinds in this order.
# isort: off
from pipeline.bookmarks import number, change_token

# isort: on
from pipeline.bookmarks.base import BOOKMARKS, BookmarkCursor

__all__ = ["BOOKMARKS", "BookmarkCursor", "change_token", "number"]
