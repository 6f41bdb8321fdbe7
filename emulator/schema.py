"""The endpoints: which fields each has, and how many rows.

Sizes follow the real IGDB's in spirit. Those that grow with the number of games are ratios,
the lists of kinds are fixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from emulator.fields import DATED, UNDATED

Kind: TypeAlias = Literal[
    "bool", "enum", "float", "hash", "image", "int", "ints", "name", "names", "ref", "refs",
    "slug", "text", "ts", "url", "word", "year",
]  # fmt: skip

_FIXED = {
    "age_rating_categories": 39, "age_rating_content_descriptions_v2": 160,
    "age_rating_organizations": 7, "character_genders": 3, "character_species": 5,
    "collection_membership_types": 6, "collection_relation_types": 3, "collection_types": 4,
    "company_statuses": 4, "date_formats": 8, "external_game_sources": 22, "game_modes": 6,
    "game_release_formats": 2, "game_statuses": 8, "game_types": 15, "genres": 23,
    "languages": 28, "language_support_types": 3, "network_types": 9, "platforms": 220,
    "platform_families": 5, "platform_logos": 330, "platform_types": 6,
    "platform_versions": 400, "platform_version_companies": 210,
    "platform_version_release_dates": 380, "platform_websites": 40, "player_perspectives": 7,
    "popularity_types": 12, "regions": 4, "release_date_regions": 10,
    "release_date_statuses": 7, "themes": 22, "website_types": 22,
}  # fmt: skip

_PER_GAME = {
    "age_ratings": 0.55, "age_rating_content_descriptions": 0.12, "alternative_names": 0.45,
    "artworks": 0.8, "characters": 0.1, "character_mug_shots": 0.04, "collections": 0.05,
    "collection_memberships": 0.2, "collection_relations": 0.01, "companies": 0.18,
    "company_logos": 0.05, "company_websites": 0.07, "covers": 0.9, "events": 0.003,
    "event_logos": 0.003, "event_networks": 0.008, "external_games": 2.6, "franchises": 0.01,
    "game_engines": 0.005, "game_engine_logos": 0.003, "game_localizations": 0.12,
    "game_time_to_beats": 0.03, "game_versions": 0.01, "game_version_features": 0.015,
    "game_version_feature_values": 0.05, "game_videos": 0.6, "involved_companies": 0.8,
    "keywords": 0.15, "language_supports": 1.6, "multiplayer_modes": 0.12,
    "popularity_primitives": 2.0, "release_dates": 1.6, "screenshots": 3.2, "websites": 2.2,
}  # fmt: skip
SMALL_TOTAL = 3.0


@dataclass(frozen=True, slots=True)
class Field:
    """One field of one endpoint; `presence` is in ‰ of its rows, `target` for references only."""

    name: str
    kind: Kind
    target: str = ""
    low: int = 0
    high: int = 1
    presence: int = 1000


@dataclass(frozen=True, slots=True)
class EmulatedEndpoint:
    """One collection of rows; `fields` without those that all endpoints have."""

    name: str
    dated: bool
    fields: tuple[Field, ...]

    @property
    def field_names(self) -> frozenset[str]:
        """Every field that a query may name."""
        common = ("id", "checksum", *(("created_at", "updated_at") if self.dated else ()))
        return frozenset({*common, *(field.name for field in self.fields)})


def sizes(
    games: int, given: Mapping[str, int] | None = None, *, small: bool = True
) -> dict[str, int]:
    """Rows of each endpoint. `small` shrinks all but games and covers to about 3 times games."""
    scaled = dict(_PER_GAME)
    if small:
        rest = sum(_PER_GAME.values()) - _PER_GAME["covers"]
        factor = (SMALL_TOTAL - 1 - _PER_GAME["covers"]) / rest
        scaled = {
            name: ratio if name == "covers" else ratio * factor for name, ratio in scaled.items()
        }
    found = {name: max(1, round(games * ratio)) for name, ratio in scaled.items()}
    return {**_FIXED, **found, "games": games, **(given or {})}


def _field(text: str) -> Field:
    spec, _, presence = text.partition("?")
    name, kind, *arguments = spec.split(":")
    if kind not in get_args(Kind):
        raise ValueError(f"field {text!r}: {kind!r} is not a kind")
    target = arguments.pop(0) if kind in ("ref", "refs") else ""
    low, _, high = (arguments[0] if arguments else "0-1").rpartition("-")
    return Field(name, cast(Kind, kind), target, int(low or 0), int(high), int(presence or 1000))


ENDPOINTS: dict[str, EmulatedEndpoint] = {
    name: EmulatedEndpoint(
        name,
        name in DATED,
        tuple(sorted((_field(text) for text in line.split()), key=lambda field: field.name)),
    )
    for name, line in {**UNDATED, **DATED}.items()
}
