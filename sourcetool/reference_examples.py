"""An example of each key of a source's YAML, from files that tests load: the docs and the sources.

A file that shows a key in use is a better example than one that is made up, and never out of date.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
_PAGES = ("docs/how-to", "docs/for-assistants.md")
_FILES = ("examples", "sources")
_BLOCK = re.compile(r"```yaml[^\n]*\n(.*?)```", re.DOTALL)
_LONGEST = 60
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
RARE: dict[tuple[str, str], Any] = {
    ("Apicalypse", "exclude"): "screenshots",
    ("Apicalypse", "where"): "category = 0",
    ("AwsEndpoint", "params"): {"MaxResults": 100},
    ("AwsEndpoint", "limit"): 100,
    ("AwsEndpoint", "max_failed_share"): 0.1,
    ("AwsEndpoint", "timeout_s"): 600,
    ("AwsKeys", "access_key_id"): "${AWS_KEY_ID}",
    ("AwsKeys", "secret_access_key"): "${AWS_SECRET}",
    ("AwsKeys", "session_token"): "${AWS_TOKEN:-}",
    ("AwsLimits", "services"): {"ec2": {"burst": 100, "per_s": 20}},
    ("AwsSource", "credentials"): {"access_key_id": "${K}", "secret_access_key": "${S}"},
    ("AwsSource", "profile"): "inventory",
    ("AwsSource", "profiles"): ["dev", "prod"],
    ("RowsOfEndpoint", "column"): "id",
    ("RowsOfEndpoint", "endpoint"): "accounts",
    ("RowsOfEndpoint", "values"): ["a", "b"],
    ("RowsOfEndpoint", "where"): {"state": "active"},
    ("TokenCursor", "header"): "X-Next-Sync-Token",
    ("LinkCursor", "header"): "X-Delta-Link",
    ("TokenBucket", "burst"): 100,
    ("TokenBucket", "per_s"): 20,
    ("BackfillConfig", "days_per_run"): 10,
    ("ClientCredentialsAuth", "client_id_header"): "Client-ID",
    ("CustomPaging", "limit"): 100,
    ("CustomPaging", "path"): "my_api:Pages",
    ("CustomPaging", "total"): "meta.total",
    ("EachConfig", "timeout_s"): 600,
    ("EachList", "values"): ["gross", "net"],
    ("EachList", "endpoint"): "companies",
    ("EachList", "column"): "id",
    ("EachList", "where"): {"active": True},
    ("Endpoint", "base_url"): "https://messages.example.com/v2",
    ("Endpoint", "names_at"): "fields",
    ("Endpoint", "max_rows"): 1_000_000,
    ("Endpoint", "where"): {"type": "file", "size": {"gt": 0}},
    ("Endpoint", "safety_margin_s"): 7200,
    ("Endpoint", "deleted"): "is_deleted",
    ("Endpoint", "deps"): ["crm/accounts"],
    ("Endpoint", "preview"): False,
    ("Endpoint", "search_cap"): 10_000,
    ("Freshness", "late_s"): 1800,
    ("Freshness", "within_s"): 90_000,
    ("HttpTemplate", "json"): {"size": "{limit}", "token": "{token}"},
    ("HttpTemplate", "form"): {"page": "{page}"},
    ("HttpTemplate", "text"): "fields id; limit {limit};",
    ("HttpTemplate", "with_token"): ["NextToken"],
    ("LimitsConfig", "budget"): "shop_search",
    ("LinkPaging", "more"): "has_more",
    ("LinkPaging", "numbered"): True,
    ("LoginAuth", "form"): {"user": "${SHOP_USER}"},
    ("LoginAuth", "params"): {"key": "${SHOP_KEY}"},
    ("LoginAuth", "headers"): {"X-Key": "${SHOP_KEY}"},
    ("LoginAuth", "username"): "${SHOP_USER}",
    ("LoginAuth", "password"): "${SHOP_PASSWORD}",
    ("MoreFlag", "at"): "state",
    ("MoreFlag", "value"): "partial",
    ("MoreFlag", "ended"): "-1",
    ("NumberedPaging", "more"): "has_more",
    ("NumberedPaging", "pages"): "meta.pages",
    ("OffsetPaging", "total_header"): "x-total-count",
    ("OffsetPaging", "more"): "has_more",
    ("OffsetPaging", "pages"): "meta.pages",
    ("ParentsConfig", "timeout_s"): 600,
    ("RateHeadersConfig", "interval_s"): 60,
    ("RefreshTokenAuth", "token_url"): "https://login.example.org/oauth/token",
    ("RefreshTokenAuth", "scope"): "read",
    ("RefreshTokenAuth", "params"): {"audience": "https://api.example.org/"},
    ("RefreshTokenAuth", "token_folder"): "${SHOP_TOKEN_FOLDER}",
    ("ResponsesConfig", "dead_page_token"): [410],
    ("ResponsesConfig", "dead_token"): [498],
    ("ResponsesConfig", "dead_token_text"): "session expired",
    ("ResponsesConfig", "dead_page_token_text"): "cursor expired",
    ("ResponsesConfig", "retry"): [520],
    ("ResponsesConfig", "permanent"): [501],
    ("Source", "backfill"): {"days_per_run": 10},
    ("Source", "breaker"): {"failures": 10},
    ("Source", "cookies"): True,
    ("Source", "freshness"): {"late_s": 1800},
    ("Source", "owners"): ["team:shop"],
    ("Source", "partitions"): {"kind": "days"},
    ("Source", "proxy"): "env",
    ("Source", "retries"): {"errors": 3},
    ("Source", "tags"): {"tier": "1"},
    ("Source", "tls"): {"ca": "company.pem"},
    ("Endpoint", "tables"): {"items": {"rows": "lines", "key": "none"}},
    ("TableColumn", "description"): "the number in the list",
    ("TableColumn", "path"): "price.amount",
    ("TableColumn", "value"): "eu",
    ("TableConfig", "key_column"): "currency",
    ("TableConfig", "exclude"): ["_links"],
    ("TableConfig", "hash"): {"sold_by": "sha256"},
    ("TableConfig", "description"): "the lines of each order",
    ("TlsConfig", "ca"): "company.pem",
    ("TlsConfig", "cert"): "me.pem",
    ("TlsConfig", "key"): "me.key",
    ("TokenPaging", "total_header"): "x-total-count",
    ("TokenPaging", "header"): "x-next-page",
    ("TokenPaging", "numbered"): True,
}
"""Of keys that no file shows; a test holds each against the schema."""
_ENDPOINTS = {"additionalProperties": {"anyOf": [{"$ref": "Endpoint"}, {"$ref": "AwsEndpoint"}]}}
Schema = Mapping[str, Any]
Examples = dict[tuple[str, str], str]
"""By the name of a model and a key: the value in flow style."""


def examples(schema: Schema, top: str) -> Examples:
    """The first short value that is found of each key.

    :param schema: the JSON schema of a source's file.
    :param top: the name of its model.
    """
    by_key: Examples = {}
    models = {**schema.get("$defs", {}), top: schema}
    for text in _texts():
        data = yaml.load(text, _LOADER)  # noqa: S506 (the safe one, in C where there is one)
        if isinstance(data, dict):
            _walk(_as_source(data, schema), {"$ref": top}, models, by_key)
    for name, model in models.items():
        for key, spec in model.get("properties", {}).items():
            value = RARE.get((name, key), _of_schema(spec))
            if value is not None:
                _note(by_key, (name, key), value)
    return by_key


def _of_schema(spec: Schema) -> Any:
    """An example from the schema itself: the only value, or the first other than the default."""
    for each in (spec, *spec.get("anyOf", ())):
        if "const" in each:
            return each["const"]
    default = spec.get("default")
    choices = [value for value in spec.get("enum", ()) if value != default]
    if choices:
        return choices[0]
    if isinstance(default, bool):
        return not default
    return None if isinstance(default, dict | list) else default


def _texts() -> Iterator[str]:
    for name in _PAGES:
        place = ROOT / name
        for page in sorted(place.glob("*.md")) if place.is_dir() else [place]:
            yield from _BLOCK.findall(page.read_text(encoding="utf-8"))
    for name in _FILES:
        for file in sorted((ROOT / name).rglob("*.yaml")):
            yield file.read_text(encoding="utf-8")


def _as_source(data: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """A block is a source, keys of a source or of an endpoint, endpoints, or nothing of these."""
    if data.keys() <= schema["properties"].keys():
        return data
    if data.keys() <= schema["$defs"].get("Endpoint", {}).get("properties", {}).keys():
        return {"endpoints": {"NAME": data}}
    return {"endpoints": data} if all(isinstance(each, dict) for each in data.values()) else {}


def _walk(data: Any, spec: Schema, models: Mapping[str, Any], by_key: Examples) -> None:
    """Note the keys of an object and of what lies in it, where the schema knows them."""
    if isinstance(data, list):
        for item in data:
            _walk(item, spec.get("items", {}), models, by_key)
    if not isinstance(data, dict):
        return
    for name in _names(spec):
        properties = models.get(name, {}).get("properties", {})
        if not _fits(data, properties):
            continue
        for key, value in data.items():
            if key in properties:
                _note(by_key, (name, key), value)
                _walk(value, _ENDPOINTS if key == "endpoints" else properties[key], models, by_key)
    inside = [spec.get("additionalProperties"), *spec.get("patternProperties", {}).values()]
    for of_member in inside:
        if isinstance(of_member, dict):
            for value in data.values():
                _walk(value, of_member, models, by_key)


def _names(spec: Schema) -> Iterator[str]:
    """The models that a value may be of."""
    if "$ref" in spec:
        yield str(spec["$ref"]).rsplit("/", 1)[-1]
    for choice in ("anyOf", "oneOf", "allOf"):
        for each in spec.get(choice, ()):
            yield from _names(each)


def _fits(data: Mapping[str, Any], properties: Schema) -> bool:
    """Whether an object is of a model: it has no other keys, and is of that kind."""
    kinds = ("kind", "dialect")
    constants = {k: properties[k].get("const") for k in kinds if k in properties}
    return data.keys() <= properties.keys() and all(
        data.get(k, value if k == "dialect" else None) == value
        for k, value in constants.items()
        if value is not None
    )


def _note(by_key: Examples, key: tuple[str, str], value: Any) -> None:
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=1000, sort_keys=False
    )
    text = text.strip().removesuffix("\n...").strip()
    if (
        (value or value is False)
        and key not in by_key
        and len(text) <= _LONGEST
        and "\n" not in text
    ):
        by_key[key] = text
