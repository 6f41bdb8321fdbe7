"""Synthetic rows: each a pure function of (seed, endpoint, position).

Ids are sparse: of every 8 in a row one is missing, and 500 after every 7,000 rows. All
references point to rows that exist before anything was changed. Times are unix seconds.
"""

import hashlib
import random
import struct
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from emulator.evaluate import Row
from emulator.schema import EmulatedEndpoint, Field
from emulator.words import ADJECTIVES, LABELS, MIDDLES, NOUNS, OPENINGS, SUBTITLES

NO_TIME = -1
DAY_S = 86_400
RECENT_DAYS = 30
OLDEST_S = 12 * 365 * DAY_S
NULL_EVERY = 5_000

TEMPLATES = 1_024

_WORDS = struct.Struct("<16I")
_RUN = 7
_BLOCKS_PER_LEAP = 1_000
_LEAP = 500


@dataclass(frozen=True, slots=True)
class Timeline:
    """When rows changed: none at or after `until_s`, `daily_share` of them on each last day."""

    until_s: int
    daily_share: float = 0.003


class _Identity(NamedTuple):
    id: int
    name: str
    slug: str


_Maker: TypeAlias = Callable[[int, _Identity], object]


def _block_ids(block: int) -> list[int]:
    first = 1 + 8 * block + _LEAP * (block // _BLOCKS_PER_LEAP)
    skipped = (block * 2_654_435_761 >> 7) & 7
    return [first + place for place in range(8) if place != skipped]


class _Ids:
    """The ids of all endpoints: they differ only in how many of these they have."""

    def __init__(self) -> None:
        self._known: list[int] = []

    def reach(self, size: int) -> list[int]:
        while len(self._known) < size:
            self._known.extend(_block_ids(len(self._known) // _RUN))
        return self._known


_IDS = _Ids()


def ids_of(size: int) -> list[int]:
    """The ids of an endpoint of that many rows, rising."""
    return _IDS.reach(size)[:size]


def updated_times(
    endpoint: EmulatedEndpoint, size: int, seed: int, timeline: Timeline
) -> "array[int]":
    """`updated_at` of each row by position, `NO_TIME` where it has none."""
    if not endpoint.dated:
        return array("q")
    draw = random.Random(f"{seed}:{endpoint.name}:updated_at").random
    share = timeline.daily_share
    last = timeline.until_s - 1
    recent = share * RECENT_DAYS
    oldest = OLDEST_S - RECENT_DAYS * DAY_S
    times = array("q", bytes(8 * size))
    for position in range(size):
        place = draw()
        if place < recent:
            age = int(place / share * DAY_S)
        else:
            age = RECENT_DAYS * DAY_S + int(draw() ** 2 * oldest)
        times[position] = NO_TIME if position % NULL_EVERY == 1_234 else last - age
    return times


class RowMaker:
    """Makes the rows of one endpoint, each from the 16 or 32 words of a hash.

    Which fields a row has is one of `TEMPLATES` draws, so that only those are computed.
    """

    def __init__(self, endpoint: EmulatedEndpoint, seed: int, sizes: Mapping[str, int]) -> None:
        self._key = f"{seed}:{endpoint.name}".encode()
        self._dated = endpoint.dated
        draw = random.Random(f"{seed}:{endpoint.name}:templates").random
        makers = [
            (field.name, field.presence, _maker(field, endpoint, sizes))
            for field in endpoint.fields
        ]
        self._templates = [
            [(name, make) for name, presence, make in makers if draw() * 1000 < presence]
            for _ in range(TEMPLATES)
        ]

    def make(self, id_: int, updated_at: int) -> Row:
        """The row of an id: `id`, its own fields from a to z, then those that all have."""
        digest = hashlib.blake2b(b"%d" % id_, key=self._key).digest()
        words = _WORDS.unpack(digest)
        identity = _identity(words[0], id_)
        row: Row = {"id": id_}
        template = self._templates[words[1] % TEMPLATES]
        numbers = words
        if len(template) > len(words):
            numbers += _WORDS.unpack(hashlib.blake2b(digest, key=self._key).digest())
        for (name, make), number in zip(template, numbers, strict=False):
            row[name] = make(number, identity)
        row["checksum"] = uuid_text(digest[:16].hex())
        if self._dated:
            stamp = updated_at if updated_at != NO_TIME else 1_400_000_000
            row["created_at"] = stamp - words[2] % (5 * 365 * DAY_S)
            if updated_at != NO_TIME:
                row["updated_at"] = updated_at
        return row


def uuid_text(digest: str) -> str:
    """32 hex digits in the form of a uuid."""
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def _identity(number: int, id_: int) -> _Identity:
    adjective = ADJECTIVES[number % len(ADJECTIVES)]
    noun = NOUNS[(number >> 8) % len(NOUNS)]
    name = f"{adjective} {noun}"
    choice = (number >> 20) & 7
    if choice < 2:
        name = f"{name} {2 + (number >> 24) % 6}"
    elif choice == 2:
        name = f"{name}: {SUBTITLES[(number >> 24) % len(SUBTITLES)]}"
    return _Identity(id_, name, f"{_ASCII[adjective]}-{_ASCII[noun]}-{id_}")


_SENTENCES = [f"{opening} {middle}." for opening in OPENINGS for middle in MIDDLES]
random.Random(0).shuffle(_SENTENCES)
_ASCII = {
    word: "".join(letter for letter in word.lower() if letter.isascii()) or "star"
    for word in (*ADJECTIVES, *NOUNS)
}


def _maker(field: Field, endpoint: EmulatedEndpoint, sizes: Mapping[str, int]) -> _Maker:
    low, span = field.low, field.high - field.low + 1
    high = field.high
    if field.kind in ("ref", "refs"):
        return _references(field, sizes)
    makers: dict[str, _Maker] = {
        "bool": lambda n, _: n & 1 == 1,
        "enum": lambda n, _: 1 + n % high,
        "float": lambda n, _: (n % 10**9) / 10**7,
        "hash": lambda n, _: f"{n:x}",
        "image": lambda n, i: f"co{n % 2_176_782_336:x}{i.id % 997}",
        "int": lambda n, _: low + n % span,
        "ints": lambda n, _: [(n >> s) % 268_435_456 + s for s in range(1 + n % high)],
        "name": lambda _, i: i.name,
        "names": lambda n, i: [f"{i.name} {LABELS[(n + s) % 27]}" for s in range(1 + n % high)],
        "slug": lambda _, i: i.slug,
        "text": lambda n, _: _text(n, high),
        "ts": lambda n, _: 473_385_600 + n % 1_325_376_000,
        "url": lambda _, i: f"https://www.igdb.example/{endpoint.name}/{i.slug}",
        "word": lambda n, _: LABELS[n % len(LABELS)],
        "year": lambda n, _: 1_985 + n % 43,
    }
    return makers[field.kind]


def _text(number: int, most: int) -> str:
    first = (number >> 4) % (len(_SENTENCES) - most)
    return " ".join(_SENTENCES[first : first + 1 + number % most])


def _references(field: Field, sizes: Mapping[str, int]) -> _Maker:
    size = sizes[field.target]
    ids = _IDS.reach(size)
    if field.kind == "ref":
        return lambda n, _: ids[n % size]
    most = max(1, min(field.high, size))
    places = size - most + 1

    def several(number: int, _: _Identity) -> list[int]:
        first = (number >> 4) % places
        return ids[first : first + 1 + number % most]

    return several
