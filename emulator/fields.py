"""What every endpoint's rows are made of: one line of text a field, in IGDB's alphabet.

`name:kind[:argument][?presence]`. Kinds: `bool`, `enum:N` (1…N), `float`, `hash`, `image`,
`int:LOW-HIGH`, `ints:MAX` (numbers, at most MAX), `name`, `names:MAX`, `ref:endpoint`,
`refs:endpoint:MAX`, `slug`, `text:MAX` (sentences), `ts` (unix seconds), `url`,
`word` and `year`. Presence is in ‰ of the rows, 1000 if not said: IGDB leaves a field out
rather than sending null. All rows have `id` and `checksum`, those of a
dated endpoint `created_at` and `updated_at`: these are not listed here.
"""

IMAGE = (
    "alpha_channel:bool animated:bool height:int:90-2160 image_id:image url:url width:int:90-3840"
)
NAMED = "name:name slug:slug url:url"

UNDATED: dict[str, str] = {
    "age_ratings": (
        "category:enum:7 content_descriptions:refs:age_rating_content_descriptions:4?600 "
        "organization:ref:age_rating_organizations rating:enum:38 "
        "rating_category:ref:age_rating_categories "
        "rating_content_descriptions:refs:age_rating_content_descriptions_v2:4?500 "
        "rating_cover_url:url?200 synopsis:text:2?150"
    ),
    "age_rating_content_descriptions": "category:enum:53 description:text:1",
    "alternative_names": "comment:word?800 game:ref:games name:name",
    "artworks": IMAGE + " artwork_type:enum:6 game:ref:games",
    "character_mug_shots": IMAGE,
    "company_logos": IMAGE,
    "company_websites": "category:enum:18 trusted:bool type:ref:website_types url:url",
    "covers": IMAGE + " game:ref:games game_localization:ref:game_localizations?40",
    "game_engine_logos": IMAGE,
    "game_version_features": (
        "category:enum:2 description:text:1 position:int:0-20 title:name "
        "values:refs:game_version_feature_values:4"
    ),
    "game_version_feature_values": (
        "game:ref:games game_feature:ref:game_version_features included_feature:enum:3?700 "
        "note:text:1?300"
    ),
    "game_videos": "game:ref:games name:word video_id:image",
    "multiplayer_modes": (
        "campaigncoop:bool dropin:bool game:ref:games lancoop:bool offlinecoop:bool "
        "offlinecoopmax:int:2-8?300 offlinemax:int:2-8?300 onlinecoop:bool "
        "onlinecoopmax:int:2-64?300 onlinemax:int:2-128?300 platform:ref:platforms "
        "splitscreen:bool splitscreenonline:bool?400"
    ),
    "platform_families": "name:name slug:slug",
    "platform_logos": IMAGE,
    "platform_versions": (
        "companies:refs:platform_version_companies:3?400 connectivity:text:1?300 cpu:word?600 "
        "graphics:word?500 main_manufacturer:ref:platform_version_companies?400 memory:word?600 "
        "name:name os:word?300 output:word?400 platform_logo:ref:platform_logos?800 "
        "platform_version_release_dates:refs:platform_version_release_dates:4?700 "
        "resolutions:word?500 slug:slug storage:word?400 summary:text:2?400 url:url"
    ),
    "platform_version_companies": (
        "comment:text:1?200 company:ref:companies developer:bool manufacturer:bool"
    ),
    "platform_websites": "category:enum:18 trusted:bool type:ref:website_types url:url",
    "screenshots": IMAGE + " game:ref:games",
    "websites": "category:enum:18 game:ref:games trusted:bool type:ref:website_types url:url",
}

DATED: dict[str, str] = {
    "age_rating_categories": "organization:ref:age_rating_organizations rating:word",
    "age_rating_content_descriptions_v2": (
        "description:text:1 organization:ref:age_rating_organizations"
    ),
    "age_rating_organizations": "name:name",
    "characters": (
        "akas:names:3?200 character_gender:ref:character_genders?600 "
        "character_species:ref:character_species?500 country_name:word?100 description:text:2?400 "
        "games:refs:games:5 gender:enum:3?300 mug_shot:ref:character_mug_shots?600 name:name "
        "slug:slug species:enum:5?300 url:url"
    ),
    "character_genders": "name:name",
    "character_species": "name:name",
    "collections": (
        "as_child_relations:refs:collection_relations:2?100 "
        "as_parent_relations:refs:collection_relations:3?100 games:refs:games:9 name:name "
        "slug:slug type:ref:collection_types url:url"
    ),
    "collection_memberships": (
        "collection:ref:collections game:ref:games type:ref:collection_membership_types"
    ),
    "collection_membership_types": (
        "allowed_collection_type:ref:collection_types description:text:1 name:name"
    ),
    "collection_relations": (
        "child_collection:ref:collections parent_collection:ref:collections "
        "type:ref:collection_relation_types"
    ),
    "collection_relation_types": (
        "allowed_child_type:ref:collection_types allowed_parent_type:ref:collection_types "
        "description:text:1 name:name"
    ),
    "collection_types": "description:text:1 name:name",
    "companies": (
        "change_date:ts?50 change_date_category:enum:7?200 changed_company_id:ref:companies?20 "
        "country:int:4-894?600 description:text:3?400 developed:refs:games:8?600 "
        "logo:ref:company_logos?300 name:name parent:ref:companies?80 published:refs:games:6?400 "
        "slug:slug start_date:ts?400 start_date_category:enum:7?500 "
        "start_date_format:ref:date_formats?400 status:ref:company_statuses?700 url:url "
        "websites:refs:company_websites:3?300"
    ),
    "company_statuses": "name:name",
    "date_formats": "format:word",
    "events": (
        "description:text:3 end_time:ts?500 event_logo:ref:event_logos?800 "
        "event_networks:refs:event_networks:4?700 games:refs:games:20?800 live_stream_url:url?600 "
        "name:name slug:slug start_time:ts time_zone:word videos:refs:game_videos:8?500"
    ),
    "event_logos": IMAGE + " event:ref:events",
    "event_networks": "event:ref:events network_type:ref:network_types url:url",
    "external_games": (
        "category:enum:54 countries:ints:4?30 external_game_source:ref:external_game_sources "
        "game:ref:games game_release_format:ref:game_release_formats?300 media:enum:2?200 "
        "name:name?700 platform:ref:platforms?200 uid:hash url:url?700 year:year?200"
    ),
    "external_game_sources": "name:name",
    "franchises": "games:refs:games:9 name:name slug:slug url:url",
    "games": (
        "age_ratings:refs:age_ratings:5?250 aggregated_rating:float?60 "
        "aggregated_rating_count:int:1-40?60 alternative_names:refs:alternative_names:4?250 "
        "artworks:refs:artworks:6?300 bundles:refs:games:3?40 category:enum:14 "
        "collection:ref:collections?130 collections:refs:collections:2?150 cover:ref:covers?900 "
        "dlcs:refs:games:4?30 expanded_games:refs:games:2?5 expansions:refs:games:3?20 "
        "executables:refs:games:2?2 external_games:refs:external_games:6?850 "
        "first_release_date:ts?680 follows:int:1-900?40 forks:refs:games:2?3 "
        "franchise:ref:franchises?60 franchises:refs:franchises:2?80 "
        "game_engines:refs:game_engines:2?120 game_localizations:refs:game_localizations:3?80 "
        "game_modes:refs:game_modes:3?700 game_status:ref:game_statuses?200 "
        "game_type:ref:game_types genres:refs:genres:4?880 hypes:int:1-400?60 "
        "involved_companies:refs:involved_companies:4?550 keywords:refs:keywords:12?350 "
        "language_supports:refs:language_supports:12?220 "
        "multiplayer_modes:refs:multiplayer_modes:2?80 name:name parent_game:ref:games?120 "
        "platforms:refs:platforms:5?850 player_perspectives:refs:player_perspectives:2?400 "
        "ports:refs:games:3?20 rating:float?150 rating_count:int:1-2500?150 "
        "release_dates:refs:release_dates:6?750 remakes:refs:games:2?5 remasters:refs:games:2?5 "
        "screenshots:refs:screenshots:9?600 similar_games:refs:games:10?750 slug:slug "
        "standalone_expansions:refs:games:2?4 status:enum:8?80 storyline:text:9?120 "
        "summary:text:7?930 tags:ints:9?850 themes:refs:themes:4?600 total_rating:float?170 "
        "total_rating_count:int:1-2500?170 url:url version_parent:ref:games?50 "
        "version_title:word?50 videos:refs:game_videos:3?350 websites:refs:websites:5?700"
    ),
    "game_engines": (
        "companies:refs:companies:2?400 description:text:2?300 logo:ref:game_engine_logos?300 "
        "name:name platforms:refs:platforms:6?400 slug:slug url:url"
    ),
    "game_localizations": "cover:ref:covers?500 game:ref:games name:name?700 region:ref:regions",
    "game_modes": NAMED,
    "game_release_formats": "format:word",
    "game_statuses": "status:word",
    "game_time_to_beats": (
        "completely:int:3600-900000?600 count:int:1-300 game_id:ref:games "
        "hastily:int:1800-300000?700 normally:int:2700-600000?900"
    ),
    "game_types": "type:word",
    "game_versions": (
        "features:refs:game_version_features:6?600 game:ref:games games:refs:games:4 url:url"
    ),
    "genres": NAMED,
    "involved_companies": (
        "company:ref:companies developer:bool game:ref:games porting:bool publisher:bool "
        "supporting:bool"
    ),
    "keywords": NAMED,
    "languages": "locale:word name:name native_name:name",
    "language_supports": (
        "game:ref:games language:ref:languages language_support_type:ref:language_support_types"
    ),
    "language_support_types": "name:name",
    "network_types": "event_networks:refs:event_networks:9 name:name",
    "platforms": (
        "abbreviation:word?800 alternative_name:name?500 category:enum:6?600 "
        "generation:int:1-9?500 name:name platform_family:ref:platform_families?300 "
        "platform_logo:ref:platform_logos?800 platform_type:ref:platform_types slug:slug "
        "summary:text:3?300 url:url versions:refs:platform_versions:4 "
        "websites:refs:platform_websites:2?200"
    ),
    "platform_types": "name:name",
    "platform_version_release_dates": (
        "category:enum:7 date:ts date_format:ref:date_formats human:word m:int:1-12 "
        "platform_version:ref:platform_versions region:enum:8 "
        "release_region:ref:release_date_regions y:year"
    ),
    "player_perspectives": NAMED,
    "popularity_primitives": (
        "calculated_at:ts external_popularity_source:ref:external_game_sources game_id:ref:games "
        "popularity_source:enum:2 popularity_type:ref:popularity_types value:float"
    ),
    "popularity_types": (
        "external_popularity_source:ref:external_game_sources name:name popularity_source:enum:2"
    ),
    "regions": "category:word identifier:word name:name",
    "release_dates": (
        "category:enum:7 date:ts?800 date_format:ref:date_formats game:ref:games human:word "
        "m:int:1-12?800 platform:ref:platforms region:enum:8 "
        "release_region:ref:release_date_regions status:ref:release_date_statuses?300 y:year?900"
    ),
    "release_date_regions": "region:word",
    "release_date_statuses": "description:text:1 name:name",
    "themes": NAMED,
    "website_types": "type:word",
}
