"""Dagster's part: each source becomes a multi-asset, a job, a schedule and a set of checks.

A source's definitions: ``assets`` (the multi-asset), ``specs`` and ``partitions`` (how Dagster sees
an endpoint), ``asset_checks``, ``jobs`` (with their schedules), ``deletions`` (assets of the keys
that are gone), all together in ``source_definitions`` (with what is shown of a source that can't be
loaded), without those that Dagster refuses (``refusals``), and as Dagster's components in
``component``. A step: ``executors`` (its process, or the executor that the deployment names),
``heartbeat`` (its sign of life), ``settings_digests`` (whether it has the settings of the process
that planned it), ``step`` (the engine inside it), ``progress`` and ``counters`` (while it runs),
``materializations`` (what Dagster records of it, with ``metadata`` and ``charts``, by the thread of
``event_writer``), ``failures`` (how it ends if something failed). For all sources together:
``usage``, ``maintenance``, ``sync`` (records with Dagster what the lake has), ``sensors``,
``alerts``. ``compat`` has all that rests on private behaviour of Dagster's pinned version.
"""

from assets.alerts import Webhook, alert_sensors
from assets.assets import source_assets
from assets.compat import names_a_partition
from assets.counters import check_metrics
from assets.deletions import source_sweeps
from assets.executors import chosen_executor, step_executor
from assets.jobs import source_job, source_schedule
from assets.maintenance import maintenance, maintenance_schedule
from assets.refusals import resolved
from assets.sensors import lost_runs
from assets.source_definitions import not_loaded, source_definitions
from assets.specs import api_spec
from assets.sync import sync_job
from assets.usage import budget_page

__all__ = [
    "Webhook",
    "alert_sensors",
    "api_spec",
    "budget_page",
    "check_metrics",
    "chosen_executor",
    "lost_runs",
    "maintenance",
    "maintenance_schedule",
    "names_a_partition",
    "not_loaded",
    "resolved",
    "source_assets",
    "source_definitions",
    "source_job",
    "source_schedule",
    "source_sweeps",
    "step_executor",
    "sync_job",
]
