"""Alerts: a message to a webhook when a run has failed for good, or an asset is out of date.

    HEADRACE_ALERT_URL=https://hooks.slack.com/services/…

The URL is a secret: whoever has it can write there. No text names more of it than its host.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import dagster as dg
import httpx

from assets.compat import FreshnessState, will_be_retried
from pipeline.errors import ConfigError, HeadraceError, first_of, printable

FRESHNESS_EVERY_S = 60
ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 10.0
_WAIT_S: Final = 1.0
_LONGEST: Final = 3000
"""Characters of a text: what Slack shows in one block."""
_MOST_NAMED: Final = 20


@dataclass(frozen=True)
class Alert:
    """The content of an alert, before it has a form.

    :ivar event: ``run_failed`` or ``out_of_date``.
    :ivar title: one line.
    :ivar text: the reasons.
    :ivar details: what a program wants to have by itself.
    """

    event: str
    title: str
    text: str
    link: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def _slack(alert: Alert) -> dict[str, Any]:
    """A message as Slack, Mattermost and Rocket.Chat take it. An API's words are no markup."""
    title = f"<{alert.link}|{_escaped(alert.title)}>" if alert.link else _escaped(alert.title)
    return {"text": f"*{title}*\n```{_escaped(alert.text)}```"}


def _generic(alert: Alert) -> dict[str, Any]:
    """The fields of an alert as they are."""
    return {
        "event": alert.event,
        "title": alert.title,
        "text": alert.text,
        "link": alert.link,
        "at": datetime.now(UTC).isoformat(),
        **alert.details,
    }


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("```", "'''")


FORMS: Final[Mapping[str, Callable[[Alert], dict[str, Any]]]] = {
    "slack": _slack,
    "generic": _generic,
}
_SLACKS_HOST: Final = "hooks.slack.com"


@dataclass(frozen=True)
class Webhook:
    """The address that alerts go to.

    :ivar form: one of ``FORMS``.
    :ivar ui: the address of Dagster's UI, for links to it.
    """

    url: str = field(repr=False)
    form: str
    ui: str | None = None

    @classmethod
    def of(cls, url: str | None, form: str | None, ui: str | None) -> "Webhook | None":
        """The webhook of the settings; None where there is none.

        :param form: None: by the host.

        :raises ConfigError: no URL, or no such form. The URL is not in the sentence.
        """
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                "HEADRACE_ALERT_URL is no URL: expected the webhook's, as https://host/path"
            )
        form = form or ("slack" if parts.hostname == _SLACKS_HOST else "generic")
        if form not in FORMS:
            raise ConfigError(
                f"HEADRACE_ALERT_FORM is `{form}`: expected one of "
                + ", ".join(f"`{name}`" for name in FORMS)
            )
        return cls(url, form, ui.rstrip("/") if ui else None)

    def send(self, alert: Alert) -> None:
        """Post an alert; a few attempts where the host fails.

        :raises HeadraceError: it did not take the alert; its host and what came, never the URL.
        """
        host, body = urlsplit(self.url).hostname, FORMS[self.form](alert)
        _webhooks.add(str(httpx.URL(self.url)))
        logging.getLogger("httpx").addFilter(_without_webhooks)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status = httpx.post(self.url, json=body, timeout=_TIMEOUT_S).status_code
                if status < 300:
                    return
                what = f"responded with status {status}"
            except httpx.HTTPError as error:
                status, what = 0, f"could not be reached ({type(error).__name__})"
            refused = 300 <= status < 500 and status != httpx.codes.TOO_MANY_REQUESTS
            if refused or attempt == ATTEMPTS:
                break
            time.sleep(_WAIT_S * attempt)
        raise HeadraceError(
            f"The alert `{alert.title}` was not delivered: `{host}` {what}. Check "
            "HEADRACE_ALERT_URL and HEADRACE_ALERT_FORM"
        )


_webhooks: set[str] = set()
"""All URLs that this process posts alerts to."""


def _without_webhooks(record: logging.LogRecord) -> bool:
    """httpx logs each URL; of a webhook's the path is the secret."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            a.copy_with(raw_path=b"/***") if str(a) in _webhooks and isinstance(a, httpx.URL) else a
            for a in record.args
        )
    return True


def alert_sensors(webhook: Webhook | None) -> list[dg.SensorDefinition]:
    """The sensors ``alert_failed_runs`` and ``alert_out_of_date``; none without a webhook."""
    return [] if webhook is None else [_failed_runs(webhook), _out_of_date(webhook)]


def _failed_runs(webhook: Webhook) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="alert_failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the webhook of each run of this code location that has failed, and is "
        "not started again",
    )
    def alert_failed_runs(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        if will_be_retried(context.dagster_run):
            return dg.SkipReason("The daemon starts this run again")
        webhook.send(alert_of_run(context, webhook.ui))
        return None

    return alert_failed_runs


def alert_of_run(context: dg.RunFailureSensorContext, ui: str | None) -> Alert:
    """The alert of a failed run: its job, its partition, and the reason of each step."""
    run = context.dagster_run
    first = run.tags.get("dagster/partition") or run.tags.get(_RANGE[0])
    last = run.tags.get(_RANGE[1])
    partition = f"{first} to {last}" if first and last and last != first else first
    what = run.tags.get("headrace/source") or _assets_of(run) or run.job_name
    reasons = [_reason(event) for event in context.get_step_failure_events()]
    text = "\n".join(reasons) or context.failure_event.message or "The run failed"
    return Alert(
        "run_failed",
        f"Headrace: {what}{f' {partition}' if partition else ''} failed",
        _shortened(text),
        f"{ui}/runs/{run.run_id}" if ui else None,
        {"run_id": run.run_id, "job": run.job_name, "partition": partition},
    )


_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def _assets_of(run: dg.DagsterRun) -> str:
    keys = sorted(key.to_user_string() for key in run.asset_selection or ())
    return first_of(keys, _MOST_NAMED)


def _reason(event: dg.DagsterEvent) -> str:
    """The sentence of a step that has failed; of an exception its own message, without a stack."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else str(event.message)


def _out_of_date(webhook: Webhook) -> dg.SensorDefinition:
    @dg.sensor(
        name="alert_out_of_date",
        minimum_interval_seconds=FRESHNESS_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the webhook once of each asset that is out of date by its freshness "
        "policy",
    )
    def alert_out_of_date(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        repository = context.repository_def
        graph = repository.asset_graph.asset_nodes if repository else ()
        policed = [node.key for node in graph if node.freshness_policy is not None]
        states = context.instance.get_freshness_state_records(policed) if policed else {}
        late = sorted(
            key.to_user_string()
            for key, record in states.items()
            if record.freshness_state is FreshnessState.FAIL
        )
        new = [key for key in late if key not in json.loads(context.cursor or "[]")]
        if new:
            webhook.send(alert_of_assets(new, webhook.ui))
        context.update_cursor(json.dumps(late))  # not if the alert was not delivered
        return dg.SkipReason(f"{len(late)} assets are out of date, {len(new)} of them newly")

    return alert_out_of_date


def alert_of_assets(keys: Sequence[str], ui: str | None) -> Alert:
    """The alert of assets that have become out of date."""
    names = "\n".join(keys[:_MOST_NAMED])
    more = len(keys) - _MOST_NAMED
    is_single = len(keys) == 1
    return Alert(
        "out_of_date",
        f"Headrace: {keys[0] if is_single else f'{len(keys)} assets'} "
        f"{'is' if is_single else 'are'} out of date",
        names + (f"\nand {more} more" if more > 0 else ""),
        f"{ui}/assets" if ui else None,
        {"assets": [*keys]},
    )


def _shortened(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
