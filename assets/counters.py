"""Counters of a step for OpenTelemetry, by ``HEADRACE_METRICS=otlp``: requests, 429s, waits, rows.

They are pushed (OTLP over HTTP), since a step lives for minutes and nobody could scrape it. Where
to, how often and with which headers is said by OpenTelemetry's own variables, such as
``OTEL_EXPORTER_OTLP_ENDPOINT``. Needs the extra ``metrics``. A collector that is down costs a run
nothing but its counters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigError
from pipeline.lake.manifest import Manifest
from pipeline.ratelimit.usage_stats import BudgetStats

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

OTLP: Final = "otlp"
LAST_EXPORT_MS: Final = 5_000.0
"""The end of a step waits so long for a collector that is slow, or down."""
_OF_THE_RUN: Final[Mapping[str, tuple[str, str, Callable[[BudgetStats], float]]]] = {
    "headrace.requests": ("1", "requests sent", lambda stats: stats.requests),
    "headrace.throttled": ("1", "responses with status 429", lambda stats: stats.throttled),
    "headrace.waited_slot": ("s", "waited for send slots", lambda stats: stats.waited_slot_s),
    "headrace.waited_permit": ("s", "waited for permits", lambda stats: stats.waited_permit_s),
}
_OF_A_PARTITION: Final[Mapping[str, tuple[str, str, Callable[[Manifest], int]]]] = {
    "headrace.partitions": ("1", "partitions committed", lambda _: 1),
    "headrace.rows": ("1", "rows committed", lambda manifest: manifest.rows),
    "headrace.late_rows": ("1", "rows found late", lambda manifest: manifest.late_rows),
    "headrace.bytes": ("By", "bytes of Parquet committed", lambda manifest: manifest.total_bytes),
}


def check_metrics(metrics: str | None) -> None:
    """Find out when the project loads what each run would fail with.

    :raises ConfigError: no such kind of metrics, or its packages are not installed.
    """
    if metrics is None:
        return
    if metrics != OTLP:
        raise ConfigError(f"HEADRACE_METRICS is `{metrics}`: expected `{OTLP}`, or nothing")
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise ConfigError(
            "HEADRACE_METRICS is `otlp`, and OpenTelemetry is not installed: "
            "`pip install -c constraints.txt '.[metrics]'`, wherever a run can start"
        )


@contextmanager
def counting(
    metrics: str | None, source: str, stats: Callable[[], BudgetStats]
) -> Iterator[Callable[[Manifest], None]]:
    """Export a step's counters while the block lasts.

        with counting("otlp", "igdb", lambda: report.stats) as committed:
            committed(manifest)

    :param stats: is called at each export.
    """
    if metrics is None:
        yield lambda _: None
        return
    # Imported where it is wanted: most runs are without.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    provider = MeterProvider(
        [PeriodicExportingMetricReader(OTLPMetricExporter())],
        Resource({SERVICE_NAME: "headrace"}).merge(Resource.create()),
        shutdown_on_exit=False,
    )
    try:
        yield _instruments(provider.get_meter("headrace"), source, stats)
    finally:
        provider.shutdown(LAST_EXPORT_MS)


def _instruments(
    meter: "Meter", source: str, stats: Callable[[], BudgetStats]
) -> Callable[[Manifest], None]:
    from opentelemetry.metrics import Observation

    def observed(
        value: Callable[[BudgetStats], float],
    ) -> Callable[["CallbackOptions"], Iterable["Observation"]]:
        return lambda _: [Observation(value(stats()), {"source": source})]

    for name, (unit, about, value) in _OF_THE_RUN.items():
        meter.create_observable_counter(name, [observed(value)], unit, about)
    counters = [
        (meter.create_counter(name, unit, about), value)
        for name, (unit, about, value) in _OF_A_PARTITION.items()
    ]

    def committed(manifest: Manifest) -> None:
        for counter, of in counters:
            counter.add(of(manifest), {"source": source, "endpoint": manifest.endpoint})

    return committed
