"""Why no row lies between two pages, and no row comes twice.

Let pages be slices of the rows sorted by a unique key, each taken at its own time. A page taken
from ``first`` to ``last`` holds *every* row that was there at that time with a key between the two.
So if each page begins at or before the last key of the pages before it, their key intervals join
without a gap, and every row that was there throughout has been seen, whatever came or went
meanwhile. The last page must be shorter than requested: then it reaches to the end. A range of keys
is not covered to its end by a short page, but by one that holds no row of it. One row of
overlap makes pages join when nothing moves; deleted rows open a gap, which is seen and fetched
again; inserted rows widen the overlap. Rows at or below what is covered are dropped, so that none
comes twice.

Pure: keys in, decisions out. Where the API sorts descending, all comparisons turn around.
"""

from dataclasses import dataclass, replace

from pipeline.errors import ContractBroken
from pipeline.pagination.page import Key, PageInfo, PageRequest


@dataclass(frozen=True)
class Coverage:
    """How far the pages handed on have come.

    :ivar covered: every row there throughout with a key up to this one has been seen.
    :ivar ended: a page reached to the end of the rows.
    :ivar witnesses: so many pages in a row say that there is no more: a page that is short, also
        beside those before it, since an API may cap its pages; then each that brings nothing.
    :ivar most_rows: of a page.
    """

    covered: Key = None
    ended: bool = False
    witnesses: int = 0
    most_rows: int = 0
    descending: bool = False

    def joins(self, request: PageRequest, info: PageInfo, first_offset: int = 0) -> bool:
        """True if no row can lie between what is covered and this page."""
        if request.offset is None or request.offset <= first_offset:
            return request.after is None or self._before(request.after, self.covered)
        # An empty page does not: it lacks the row of overlap, so that rows before it are gone.
        return info.rows > 0 and self.covered is not None and self._before(info.first, self.covered)

    def extended(self, request: PageRequest, info: PageInfo) -> "Coverage":
        """What is covered after a page that joins."""
        covered = self.covered
        if info.rows and not self._before(info.last, covered):
            covered = info.last
        if info.rows == 0 and isinstance(request.before, int) and not self.descending:
            covered = covered if self._before(request.before - 1, covered) else request.before - 1
        short = info.rows < request.limit
        witnesses = self.witnesses
        if self.brings(info):
            witnesses = int(short and not 0 < self.most_rows <= info.rows)
        elif request.before is None:
            witnesses += self.ends_with(request, info)
        return replace(
            self,
            covered=covered,
            ended=short and request.before is None,
            witnesses=witnesses,
            most_rows=max(self.most_rows, info.rows),
        )

    def brings(self, info: PageInfo) -> bool:
        """True if the page reaches beyond what is covered."""
        return info.rows > 0 and not self._before(info.last, self.covered)

    def ends_with(self, request: PageRequest, info: PageInfo) -> bool:
        """True if a page that brings nothing shows the end: it has fewer rows than a page can have.

        How many that is, pages have shown. Before any came, it is one row, which both pages have.
        """
        return info.rows < max(2, min(request.limit, self.most_rows))

    def within(self, request: PageRequest, info: PageInfo) -> bool:
        """True if a page's rows lie between the keys that were requested."""
        return not (
            self._before(info.first, request.after) or self._before(request.before, info.last)
        )

    def _before(self, a: Key, b: Key) -> bool:
        """``a`` comes before ``b`` or is the same; nothing comes before None, the very start."""
        if b is None or a is None:
            return False
        if isinstance(a, str) != isinstance(b, str):
            raise ContractBroken(
                f"keys of one endpoint must be of one type: got {a!r} beside {b!r}"
            )
        return bool(a >= b if self.descending else a <= b)  # type: ignore[operator]


def earlier_request(request: PageRequest, attempt: int, first_offset: int) -> PageRequest:
    """Where keys can't be sought: the same page from further back, twice as far each time."""
    back = max(1, request.limit // 2) << attempt
    return replace(request, offset=max(first_offset, (request.offset or 0) - back))
