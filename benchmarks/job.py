"""What one case is told, and what it answers: plain values, passed as JSON between processes.

Law of this file and of ``meter``: standard library only, since peers read it in environments of
their own. Units: seconds, MB of 10⁶ bytes.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """One peer's work: all rows of ``games``, from an API to Parquet on S3.

    :ivar rate: requests in any second that the API allows; 0 = no limit.
    :ivar packed: pages may ride together in multi-queries, where the peer can.
    :ivar floor_id, top_id: the keys lie between these two (for peers that cut ranges).
    """

    origin: str
    rows: int
    page: int
    rate: int
    in_flight: int
    top_id: int
    s3: dict[str, str]
    bucket: str
    prefix: str
    folder: str
    packed: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v4"

    @property
    def token_url(self) -> str:
        return f"{self.origin}/oauth2/token"


CLIENT_ID, CLIENT_SECRET = "bench", "bench-secret"
LAST_UPDATE_S = 4_000_000_000
"""A bound that every row's ``updated_at`` meets: peers ask with a condition, as Headrace does."""

COLUMNS: dict[str, list[str]] = {
    "string": ["checksum", "name", "slug", "storyline", "summary", "url", "version_title"],
    "float64": ["aggregated_rating", "rating", "total_rating"],
    "timestamp": ["created_at", "first_release_date", "updated_at"],
    "int64": [
        "id", "aggregated_rating_count", "rating_count", "total_rating_count", "hypes", "category",
        "status", "follows", "cover", "franchise", "parent_game", "version_parent", "game_status",
        "game_type", "collection",
    ],
    "list": [
        "tags", "age_ratings", "alternative_names", "artworks", "bundles", "collections", "dlcs",
        "executables", "expanded_games", "expansions", "external_games", "forks", "franchises",
        "game_engines", "game_localizations", "game_modes", "genres", "involved_companies",
        "keywords", "language_supports", "multiplayer_modes", "platforms", "player_perspectives",
        "ports", "release_dates", "remakes", "remasters", "screenshots", "similar_games",
        "standalone_expansions", "themes", "videos", "websites",
    ],
}  # fmt: skip
"""The columns of ``games`` by kind; a list is of int64."""


def read_job() -> Job:
    """The job on standard input."""
    return Job(**json.load(sys.stdin))


def write_job(job: Job) -> str:
    return json.dumps(asdict(job))


def answer(figures: dict[str, Any]) -> None:
    """Say the figures, as the last line of standard output."""
    print(json.dumps(figures), flush=True)
