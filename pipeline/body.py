"""The body of an answer: as it comes, in pieces, and as a whole.

A large one grows where it is, since it is mapped by itself (``runtime``): joining its pieces at the
end would take twice its memory, and the loop's time. What is cut out of a pack is a view of it.
"""

from typing import Final, TypeAlias

Body: TypeAlias = bytes | bytearray | memoryview
LARGE_BYTES: Final = 1_000_000
"""A body of more is large: packs, and pages of over a thousand rows."""


class Incoming:
    """A body that comes in pieces.

    :ivar size: bytes so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []
        self._large: bytearray | None = None

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._large is not None:
            self._large += piece
            return
        self._pieces.append(piece)
        if self.size > LARGE_BYTES:
            self._large = bytearray().join(self._pieces)
            self._pieces.clear()

    def whole(self) -> bytes | bytearray:
        return b"".join(self._pieces) if self._large is None else self._large
