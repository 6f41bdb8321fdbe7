"""Counters for OpenTelemetry, as a collector of the test gets them over a socket."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assets import counters
from assets.counters import check_metrics
from local.ports import free_port
from pipeline.errors import ConfigError
from resources import ApiResource
from tests.assets.support import FIRST_BACK, Headrace, day
from tests.support.runs import serving

pytestmark = pytest.mark.slow


@dataclass
class Collector:
    """What the newest export says, by name and endpoint."""

    url: str = ""
    values: dict[tuple[str, str], float] = field(default_factory=dict)


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    async def take(request: Request) -> Response:
        export = ExportMetricsServiceRequest.FromString(await request.body())
        for resource in export.resource_metrics:
            for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                for point in metric.sum.data_points:
                    said = {one.key: one.value.string_value for one in point.attributes}
                    assert said["source"] == "igdb"
                    value = point.as_int or point.as_double
                    found.values[metric.name, said.get("endpoint", "")] = value
        answer = ExportMetricsServiceResponse().SerializeToString()
        return Response(answer, media_type="application/x-protobuf")

    with serving(Starlette(routes=[Route("/v1/metrics", take, methods=["POST"])])) as url:
        found.url = url
        yield found


@dataclass
class Counted(Headrace):
    """Headrace with counters."""

    def resources(self) -> dict[str, Any]:
        found = super().resources()
        return found | {"api": ApiResource(budget=found["api"].budget, metrics="otlp")}


def counted(headrace: Headrace) -> Counted:
    return Counted(headrace.source, headrace.s3, headrace.api, headrace.budget)


def test_a_collector_gets_what_a_run_did(
    headrace: Headrace, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    ran = counted(headrace).run(["games", "genres"], day(FIRST_BACK))
    assert ran.success
    shown = {name: metadata for name, _, metadata in ran.materializations()}
    for endpoint, metadata in shown.items():
        rows = metadata["dagster/partition_row_count"].value
        assert collector.values["headrace.rows", endpoint] == rows
        assert collector.values["headrace.bytes", endpoint] == metadata["bytes"].value
        assert collector.values["headrace.partitions", endpoint] == 1
    sent = headrace.api.stats()["requests"]
    assert collector.values["headrace.requests", ""] == sent
    assert ("headrace.waited_slot", "") in collector.values


def test_a_collector_that_is_down_costs_a_run_nothing(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(counters, "LAST_EXPORT_MS", 100.0)
    assert counted(headrace).run(["genres"], day(FIRST_BACK)).success


def test_a_kind_that_is_none_and_a_package_that_is_missing_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_metrics(None)
    check_metrics("otlp")
    with pytest.raises(ConfigError, match="HEADRACE_METRICS is `statsd`: expected `otlp`"):
        check_metrics("statsd")
    monkeypatch.setattr(counters, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install -c constraints.txt '\.\[metrics\]'"):
        check_metrics("otlp")
