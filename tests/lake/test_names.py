"""Names, addresses and manifests: pure, no S3."""

import json
from datetime import UTC, datetime

import boto3
import pytest

from pipeline.errors import ConfigError, LakeRefused
from pipeline.lake.manifest import (
    Manifest,
    ManifestFile,
    ManifestNotes,
    ManifestProof,
    SchemaChange,
)
from pipeline.lake.paths import (
    PartitionPaths,
    paths_of_part,
    paths_of_record,
    segment,
)
from pipeline.lake.s3 import Lake
from pipeline.lake.stores.base import check_lake_url, open_lake
from pipeline.partitions.window import Window

GENERATION = "20260102T030405678-0123abcd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://lake", ("lake", "")),
        ("s3://lake/", ("lake", "")),
        (" s3://my.lake-1/raw/apis/ ", ("my.lake-1", "raw/apis")),
    ],
)
def test_lake_urls(text: str, expected: tuple[str, str]) -> None:
    lake = open_lake(text, {"s3": lambda: boto3.client("s3", region_name="us-east-1")})
    assert isinstance(lake, Lake)
    assert (lake.bucket, lake.prefix) == expected


@pytest.mark.parametrize(
    "text", ["", "lake", "s3:lake", "gs://lake", "s3://", "s3:///x", "s3://Lake", "file:///tmp/x"]
)
def test_wrong_lake_urls(text: str) -> None:
    with pytest.raises(ConfigError, match="expected s3://bucket/prefix"):
        check_lake_url(text)


@pytest.mark.parametrize("text", ["s3://lake/a//b", "s3://lake/../b", "s3://lake/a\nb"])
def test_wrong_prefixes(text: str) -> None:
    with pytest.raises(ConfigError, match="can't be used in an S3 key"):
        check_lake_url(text)


@pytest.mark.parametrize("text", ["igdb", "game_versions", "2026-01-02", "größe", "a b", "x" * 200])
def test_safe_names(text: str) -> None:
    assert segment(text) == text


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a/b", "a\\b", "a..b", ".hidden", "a\0b", "a\nb", "\x7f", "\ud800", "x" * 201],
)
def test_unsafe_names(text: str) -> None:
    with pytest.raises(ConfigError, match="can't be used in an S3 key"):
        segment(text)
    with pytest.raises(ConfigError):
        PartitionPaths("igdb", text, "2026-01-02")


def test_keys_tell_whose_they_are() -> None:
    place = PartitionPaths("igdb", "games", "2026-01-02")
    part = place.part(7, GENERATION)
    assert part == f"igdb/games/dt=2026-01-02/part-00007-{GENERATION}.parquet"
    assert paths_of_part(part) == place
    assert paths_of_record(place.manifest) == paths_of_record(place.checkpoint) == place
    for other in (place.manifest, f"x/{part}", part + ".tmp", part.replace("part-", "mine-")):
        assert paths_of_part(other) is None
    assert paths_of_record(part) is None


def test_manifests_survive_json() -> None:
    file = ManifestFile("igdb/games/dt=2026-01-02/part-00000-g.parquet", 3, 400)
    manifest = Manifest(
        source="igdb",
        endpoint="games",
        partition="2026-01-02",
        generation=GENERATION,
        watermark="2026-01-03T00:00:00Z",
        window=Window("baseline", None, datetime(2026, 1, 3, tzinfo=UTC), 0.0),
        proof=ManifestProof(contiguous=True, rests_on="keys", pages=2),
        notes=ManifestNotes(
            key=("id",),
            cursor="at",
            parents={"asked": 1, "failed": 0, "failures": []},
            schema_changes=(SchemaChange("size", "int64", None),),
            converted={"size": 2},
            each=("a", 1),
            warning="look",
        ),
        rows=3,
        latest_late_s=1.5,
        files=(file,),
        columns=({"name": "größe", "type": "int64"},),
        checks=({"name": "c", "passed": True},),
    )
    assert Manifest.from_json(manifest.to_json()) == manifest
    stored = json.loads(manifest.to_json())
    assert stored["window"] == {
        "kind": "baseline",
        "start": None,
        "end": "2026-01-03T00:00:00Z",
        "safety_margin_s": 0.0,
        "boundary": None,
    }
    assert stored["proof"] == {
        "contiguous": True,
        "rests_on": "keys",
        "pages": 2,
        "gaps_refetched": 0,
    }
    assert stored["extra"] == {
        "key": ["id"],
        "cursor": "at",
        "parents": {"asked": 1, "failed": 0, "failures": []},
        "schema_changes": [{"column": "size", "was": "int64", "is": None}],
        "converted": {"size": 2},
        "each": ["a", 1],
        "doubt": "look",
    }
    assert (manifest.total_bytes, manifest.paths) == (400, frozenset({file.path}))
    assert manifest.watermark_at is not None
    assert manifest.watermark_at.isoformat() == "2026-01-03T00:00:00+00:00"


def test_a_field_of_a_later_minor_change_is_ignored() -> None:
    data = json.loads(Manifest(rows=1).to_json())
    assert Manifest.from_json(json.dumps({**data, "newer": 1})) == Manifest(rows=1)
    data.pop("late_rows")
    assert Manifest.from_json(json.dumps(data)).late_rows == 0


def test_a_manifest_of_a_newer_version_is_refused() -> None:
    with pytest.raises(LakeRefused, match="x is of version 2; this Headrace reads up to version 1"):
        Manifest.from_json('{"version": 2}', name="x")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1, "files": 3}', "null", "\x80"])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(LakeRefused, match="is not a manifest of Headrace"):
        Manifest.from_json(text)
