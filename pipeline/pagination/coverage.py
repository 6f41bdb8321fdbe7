"""Why no row lies between two pages, and no row comes twice.

Let pages be slices of the rows sorted by a unique key, each taken at its own time. A page taken
from ``first`` to ``last`` holds *every* row that was there at that time with a key between the two.
So if each page begins at or before the last key of the pages before it, their key intervals join
without a gap, and every row that was there throughout has been seen, whatever came or went
meanwhile. The last page must be shorter than asked for: then it reaches to the end. A range of keys
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

    def joins(self, ask: PageRequest, facts: PageInfo, first_offset: int = 0) -> bool:
        """True if no row can lie between what is covered and this page."""
        if ask.offset is None or ask.offset <= first_offset:
            return ask.after is None or self._before(ask.after, self.covered)
        # An empty page does not: it lacks the row of overlap, so that rows before it are gone.
        return (
            facts.rows > 0 and self.covered is not None and self._before(facts.first, self.covered)
        )

    def extended(self, ask: PageRequest, facts: PageInfo) -> "Coverage":
        """What is covered after a page that joins."""
        covered = self.covered
        if facts.rows and not self._before(facts.last, covered):
            covered = facts.last
        if facts.rows == 0 and isinstance(ask.before, int) and not self.descending:
            covered = covered if self._before(ask.before - 1, covered) else ask.before - 1
        short = facts.rows < ask.limit
        witnesses = self.witnesses
        if self.brings(facts):
            witnesses = int(short and not 0 < self.most_rows <= facts.rows)
        elif ask.before is None:
            witnesses += self.ends_with(ask, facts)
        return replace(
            self,
            covered=covered,
            ended=short and ask.before is None,
            witnesses=witnesses,
            most_rows=max(self.most_rows, facts.rows),
        )

    def brings(self, facts: PageInfo) -> bool:
        """True if the page reaches beyond what is covered."""
        return facts.rows > 0 and not self._before(facts.last, self.covered)

    def ends_with(self, ask: PageRequest, facts: PageInfo) -> bool:
        """True if a page that brings nothing shows the end: it has fewer rows than a page can have.

        How many that is, pages have shown. Before any came, it is one row, which both pages have.
        """
        return facts.rows < max(2, min(ask.limit, self.most_rows))

    def within(self, ask: PageRequest, facts: PageInfo) -> bool:
        """True if a page's rows lie between the keys that were asked for."""
        return not (self._before(facts.first, ask.after) or self._before(ask.before, facts.last))

    def _before(self, a: Key, b: Key) -> bool:
        """``a`` comes before ``b`` or is the same; nothing comes before None, the very start."""
        if b is None or a is None:
            return False
        if isinstance(a, str) != isinstance(b, str):
            raise ContractBroken(
                f"keys of one endpoint must be of one type: got {a!r} beside {b!r}"
            )
        return bool(a >= b if self.descending else a <= b)  # type: ignore[operator]


def earlier_ask(ask: PageRequest, tries: int, first_offset: int) -> PageRequest:
    """Where keys can't be sought: the same page from further back, twice as far each time."""
    back = max(1, ask.limit // 2) << tries
    return replace(ask, offset=max(first_offset, (ask.offset or 0) - back))
