"""A budget's row in pages, for a store that moves only those that a step of the law needs.

The rings of a day's quota are megabytes, of which a step reads and writes a few cells: the newest
send times, and one at the far end of each window. So the head of the row lies in one place, and the
cells behind it in pages of ``PAGE``. A step runs on the pages that are at hand. If it needs another
one, ``MissingPage`` ends it; the store fetches that page, and the step begins anew on the same row.

A page is stored once it has send times. The law reads those only that the rings' counts say are
there, so a page that has none yet need not exist; one that should exist and does not is damage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.ratelimit.state_layout import CAP, COUNT, LOW_COUNT, RINGS

PAGE = 128
HEAD_BYTES, PAGE_BYTES = 8 * RINGS, 8 * PAGE
_BLANK = bytes(PAGE_BYTES)


class MissingPage(Exception):
    """A step needs a page that is not at hand."""

    def __init__(self, page: int) -> None:
        super().__init__(page)
        self.page = page


@dataclass
class StoredRow:
    """What is known of a row that lies in a store: a sound head, and the pages read so far.

    :ivar lost: a page with send times is missing, or is none.
    :ivar is_new: all of it is to be written, in place of what is stored.
    """

    head: bytes
    pages: dict[int, bytes] = field(default_factory=dict)
    lost: bool = False
    is_new: bool = False

    @classmethod
    def new(cls, cells: memoryview[float]) -> StoredRow:
        """A row that was laid out anew, with those of its pages that have send times."""
        data = cells.cast("B")
        row = cls(bytes(data[:HEAD_BYTES]), is_new=True)
        for page in range(row.page_count):
            if row._has_times(page):
                at = HEAD_BYTES + page * PAGE_BYTES
                row.pages[page] = bytes(data[at : at + PAGE_BYTES]).ljust(PAGE_BYTES, b"\0")
        return row

    @property
    def page_count(self) -> int:
        return -(-2 * self._cell(CAP) // PAGE)

    def add(self, wanted: Iterable[int], stored: Mapping[int, bytes]) -> None:
        """Take in the pages that were looked for; one that was not stored is blank."""
        for page in wanted:
            cells = stored.get(page, b"")
            self.lost = self.lost or (len(cells) != PAGE_BYTES and self._has_times(page))
            self.pages[page] = cells if len(cells) == PAGE_BYTES else _BLANK

    def whole(self) -> bytearray:
        """The row in one piece, when all pages have been looked for; cut short if one is lost."""
        row = bytearray(self.head)
        if not self.lost:
            row += b"".join(self.pages.get(page, _BLANK) for page in range(self.page_count))
        return row

    def near(self, page: int, reach: int) -> list[int]:
        """The pages around one that are not at hand."""
        around = range(max(0, page - reach), min(self.page_count, page + reach + 1))
        return [other for other in around if other not in self.pages]

    def _cell(self, index: int) -> int:
        return int(memoryview(self.head).cast("d")[index])

    def _has_times(self, page: int) -> bool:
        first, cap = page * PAGE, self._cell(CAP)
        low = cap + min(cap, self._cell(LOW_COUNT))
        return first < min(cap, self._cell(COUNT)) or (first < low and first + PAGE > cap)


class PagedCells:
    """The cells of a row for one run of a step, of which the row itself keeps nothing.

    :ivar used: the pages that the step has looked into.
    """

    def __init__(self, row: StoredRow) -> None:
        self.row = row
        self._head = memoryview(bytearray(row.head)).cast("d")
        self.used: dict[int, memoryview[float]] = {}

    def __len__(self) -> int:
        return RINGS + 2 * int(self._head[CAP])

    def __getitem__(self, index: int, /) -> float:
        if index < RINGS:
            return self._head[index]
        page, at = divmod(index - RINGS, PAGE)
        return self._page(page)[at]

    def __setitem__(self, index: int, value: float, /) -> None:
        if index < RINGS:
            self._head[index] = value
        else:
            page, at = divmod(index - RINGS, PAGE)
            self._page(page)[at] = value

    @property
    def head(self) -> bytes:
        return bytes(self._head)

    def pages_to_write(self) -> dict[int, bytes]:
        """The pages that the store has not, or has otherwise."""
        stored = self.row.pages
        used = {page: bytes(cells) for page, cells in self.used.items()}
        if self.row.is_new:
            return stored | used
        return {page: cells for page, cells in used.items() if cells != stored[page]}

    def _page(self, page: int) -> memoryview[float]:
        cells = self.used.get(page)
        if cells is None:
            if page not in self.row.pages:
                raise MissingPage(page)
            cells = memoryview(bytearray(self.row.pages[page])).cast("d")
            self.used[page] = cells
        return cells
