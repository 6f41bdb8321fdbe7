"""A manifest's references and parameters, and what is no manifest."""

from pathlib import Path

import pytest

from sourcetool.importers.manifest import NoManifest, manifest_of, read_manifest
from tests.sourcetool.manifests import manifest, stream


def test_references_are_followed_and_their_members_overridden() -> None:
    data = manifest({"$ref": "#/definitions/one", "name": "two"})
    data["definitions"] = {
        "base": {"type": "HttpRequester", "url_base": "https://x.example", "path": "a/b"},
        "one": stream("one") | {"retriever": {"requester": "#/definitions/base"}},
    }
    found = manifest_of(data, "shop").streams[0]
    assert found["name"] == "two"
    assert found["retriever"]["requester"]["path"] == "a/b"


def test_parameters_are_members_of_what_lies_below() -> None:
    one = stream("one")
    one["$parameters"] = {"path": "deep", "name": "other"}
    del one["retriever"]["requester"]["path"]
    found = manifest_of(manifest(one), "shop").streams[0]
    assert found["name"] == "one"
    assert found["retriever"]["requester"]["path"] == "deep"
    assert found["retriever"]["requester"]["$parameters"]["name"] == "other"
    assert "path" not in found["schema_loader"]["schema"]["properties"]


def test_parameters_near_by_win() -> None:
    one = stream("one")
    one["$parameters"] = {"path": "far"}
    one["retriever"]["requester"]["$parameters"] = {"path": "near"}
    del one["retriever"]["requester"]["path"]
    found = manifest_of(manifest(one), "shop").streams[0]
    assert found["retriever"]["requester"]["path"] == "near"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "expected a declarative manifest.* found a mapping with the keys a"),
        ("[1, 2]", "found a list"),
        ("", "found nothing"),
        ("a: [", r"m.yaml:2: the file is neither valid YAML nor JSON"),
        ("type: DeclarativeSource\nstreams: [1]", "streams: expected a list of mappings"),
        (
            "type: DeclarativeSource\nstreams: [{$ref: '#/definitions/none'}]",
            "reference '#/definitions/none' leads nowhere",
        ),
        (
            "type: DeclarativeSource\nstreams: ['#/defs/a']\ndefs: {a: '#/defs/a'}",
            "round in a circle",
        ),
    ],
)
def test_what_is_no_manifest_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    with pytest.raises(NoManifest, match=said) as error:
        read_manifest(file)
    assert "\n" not in str(error.value)
