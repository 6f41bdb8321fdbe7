"""Headrace as Dagster components: a source in a ``defs.yaml`` of any Dagster project.

    type: assets.component.SourceComponent
    attributes:
      source: usgs
      base_url: https://earthquake.usgs.gov/fdsnws/event/1
      endpoints: …

``attributes`` is a source's YAML as it stands in ``sources/``, with ``${VAR}`` for settings; or
``file: usgs.yaml``, beside the ``defs.yaml``. Settings are those of the environment, as always. One
``OperationsComponent`` a project has what belongs to no source: sensors, clean-up, alerts.
"""

import os
import textwrap
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster.components import Scaffolder, ScaffoldRequest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from assets.alerts import Webhook, alert_sensors
from assets.counters import check_metrics
from assets.maintenance import maintenance, maintenance_schedule
from assets.sensors import lost_runs
from assets.source_definitions import source_definitions
from assets.sync import sync_job
from pipeline.config.json_schema import source_schema
from pipeline.config.loader import load_source, source_of_text
from pipeline.config.settings import Settings
from pipeline.config.source import Source
from pipeline.errors import ConfigError
from pipeline.lake.stores.base import check_lake_url
from resources import deployment_resources


class SourceAttributes(BaseModel):
    """A source's YAML, or the file that it is in."""

    model_config = ConfigDict(extra="allow")
    file: str | None = Field(None, description="a source's YAML, relative to the defs.yaml")

    @model_validator(mode="after")
    def _one_of_both(self) -> "SourceAttributes":
        if self.file and self.model_extra:
            names = ", ".join(f"`{name}`" for name in self.model_extra)
            raise ValueError(f"expected `file` alone, or a source's YAML; found both: {names}")
        return self

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """The schema that `dg check yaml` and editors hold the attributes against."""
        source = source_schema()
        file = {
            "type": "object",
            "properties": {"file": {"type": "string"}},
            "required": ["file"],
            "additionalProperties": False,
        }
        shared = {name: source.pop(name) for name in ("$defs",) if name in source}
        for name in ("$schema", "$id"):
            source.pop(name, None)
        return {**shared, "if": {"required": ["file"]}, "then": file, "else": source}


class SourceScaffolder(Scaffolder):
    """``dg scaffold defs assets.component.SourceComponent my_api``."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        name = request.target_path.name
        request.target_path.mkdir(parents=True, exist_ok=True)
        defs = {"type": request.type_name, "attributes": {"file": f"{name}.yaml"}}
        (request.target_path / "defs.yaml").write_text(yaml.safe_dump(defs, sort_keys=False))
        (request.target_path / f"{name}.yaml").write_text(_STARTER.format(name=name))


_STARTER = textwrap.dedent(
    """\
    # The keys: docs/sources-reference of Headrace.
    source: {name}
    description: what this API has
    base_url: https://api.example.com/v1
    start: 2026-01-01
    limits: {{windows: [{{requests: 1, per_s: 1}}]}}
    endpoints:
      things:
        description: what a row is
        paging: {{kind: none}}
        key: [id]
        columns: {{id: int64}}
    """
)


@dg.scaffold_with(SourceScaffolder)
class SourceComponent(dg.Component):
    """An API's endpoints as assets, with checks, a job and a schedule: its YAML as attributes, or
    `file:`."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return SourceAttributes

    @classmethod
    def load(
        cls, attributes: BaseModel | None, context: dg.ComponentLoadContext
    ) -> "SourceComponent":
        """The component. :raises DagsterInvalidDefinitionError: what is wrong in the YAML."""
        of_component = (
            attributes if isinstance(attributes, SourceAttributes) else SourceAttributes()
        )
        try:
            return cls(_source(of_component, Path(context.path)))
        except ConfigError as error:
            raise dg.DagsterInvalidDefinitionError(str(error)) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        settings = _settings()
        return dg.Definitions.merge(
            source_definitions([self.source], lake_url=settings.lake, budget=settings.budget),
            dg.Definitions(
                jobs=[sync_job([self.source], f"{self.source.source}_sync")],
                resources=deployment_resources(settings),
            ),
        )


class OperationsComponent(dg.Component):
    """The parts of a project that belong to no source: lost runs, maintenance, alerts."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        settings = _settings()
        webhook = Webhook.of(settings.alert_url, settings.alert_form, settings.ui_url)
        return dg.Definitions(
            jobs=[maintenance],
            schedules=[maintenance_schedule],
            sensors=[lost_runs, *alert_sensors(webhook)],
            resources=deployment_resources(settings),
        )


def _source(of_component: SourceAttributes, folder: Path) -> Source:
    if of_component.file:
        return load_source(folder / of_component.file, os.environ)
    file = folder / "defs.yaml" if folder.is_dir() else folder
    text = attributes_of(file, str((of_component.model_extra or {}).get("source", "")))
    return source_of_text(str(file), text, os.environ)


def attributes_of(file: Path, source: str) -> str:
    """The text of the attributes of one source, at the lines at which they stand in the file."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        for key, value in document.value if isinstance(document, yaml.MappingNode) else ():
            if key.value != "attributes" or not isinstance(value, yaml.MappingNode):
                continue
            names = {k.value: v.value for k, v in value.value}
            if names.get("source") == source:
                first, last = value.start_mark.line, value.end_mark.line
                block = "\n".join(lines[first : last + (value.end_mark.column > 0)])
                return "\n" * first + textwrap.dedent(block)
    raise ConfigError(f"{file}: no `attributes` with `source: {source}`: expected a source's YAML")


def _settings() -> Settings:
    """The settings of the environment, held as `definitions.py` holds them."""
    try:
        settings = Settings.read(os.environ)
        check_lake_url(settings.lake)
        check_metrics(settings.metrics)
    except ConfigError as error:
        raise dg.DagsterInvalidDefinitionError(str(error)) from None
    return settings
