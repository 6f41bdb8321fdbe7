"""What Headrace reads of a manifest's API: the converted source, run for its first partition."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import load_source
from pipeline.lake.read import of_files
from pipeline.lake.s3 import Lake
from sourcetool.importers.airbyte import convert
from sourcetool.importers.converted import Converted
from sourcetool.importers.manifest import ConnectorManifest
from sourcetool.importers.trial import tried
from tests.catalogue.request_of import Unservable, rendered
from tests.catalogue.rows import DAYS, first_day
from tests.support.runs import outcome_of


def day() -> str:
    """The only partition: the baseline, which all generated rows lie before."""
    return (first_day() + timedelta(DAYS - 1)).strftime("%Y-%m-%d")


def settings_of(converted: Converted, text: str, config: Mapping[str, Any]) -> dict[str, str]:
    """The environment that says what a configuration says."""
    found: dict[str, str] = {}

    def walk(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                walk(item, (*path, str(name)))
        else:
            plain = str(value).lower() if isinstance(value, bool) else str(value)
            said = ",".join(map(str, value)) if isinstance(value, list) else plain
            found[converted.settings.variable_of(path)] = said

    walk(config, ())
    found |= {name: value for name, value in _computed(converted, config).items() if value.strip()}
    found[converted.settings.variable(("start",))] = day()
    for name in re.findall(r"\$\{(\w+)\}", text):
        found.setdefault(name, converted.settings.samples.get(name, "sample"))
    return found


_COMPUTED = "computed by the manifest: "


def _computed(converted: Converted, config: Mapping[str, Any]) -> dict[str, str]:
    """The settings that stand for something computed, as the manifest computes them."""
    found: dict[str, str] = {}
    for name, how in converted.settings.used.items():
        if how.startswith(_COMPUTED):
            with suppress(Unservable):
                found[name] = rendered(how.removeprefix(_COMPUTED), config, {}).strip()
    return found


def converted_for(
    manifest: ConnectorManifest, base_url: str, config: Mapping[str, Any]
) -> tuple[Converted, str]:
    """The source of a manifest, with another host in place of its own, and quick retries."""
    converted = convert(manifest)
    tried(converted, "a manifest")
    data = converted.data
    url = data["base_url"]
    computed = _computed(converted, config)
    named = re.match(r"\$\{(\w+)[^}]*\}", url)
    if named and (of := computed.get(named.group(1), "")).startswith("http"):
        url = of.rstrip("/") + url[named.end() :]
    data["base_url"] = re.sub(r"^(https?://[^/]+|\$\{[^}]*\}[^/]*)", base_url, url)
    data.pop("auth", None)
    data.pop("limits", None)
    data["retries"] = {"errors": 2, "timeouts": 2}
    return converted, yaml.safe_dump(data, sort_keys=False)


def read(
    converted: Converted, text: str, config: Mapping[str, Any], lake: Lake, folder: Path
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """The rows of each endpoint, and the errors of those that failed."""
    file = folder / f"{converted.name}.yaml"
    file.write_text(text)
    source = load_source(file, settings_of(converted, text, config))
    now = datetime.fromisoformat(day()).replace(tzinfo=UTC) + timedelta(days=1, hours=3)
    outcome, _ = outcome_of(source, lake, list(source.endpoints), [day()], now)
    rows: dict[str, list[dict[str, Any]]] = {}
    for result in outcome.results:
        files = result.manifest.files
        columns = source.endpoints[result.manifest.endpoint].columns
        table = of_files(lake, files).to_table().to_pylist() if files else []
        rows[result.manifest.endpoint] = [
            {name: _plain(value, columns.get(name)) for name, value in row.items()} for row in table
        ]
    failed = {str(one.endpoint): str(one.error) for one in outcome.failed}
    return rows, failed


def _plain(value: Any, column: Any) -> Any:
    if column is not None and column.type == "json" and value is not None:
        return json.loads(value)
    return value
