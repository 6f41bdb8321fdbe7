"""Settings from the environment, and ``${VAR}`` / ``${VAR:-default}`` in YAML text.

The environment is an argument, never read at import. A name without a value and without a default
is a ``MissingSetting``; its message names the variable and never a value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class MissingSetting(ConfigError):
    """A YAML file names an environment variable that is not set and has no default."""


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """Put settings into ``text``. A variable set to nothing counts as not set, as in a shell."""

    def value(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        setting = env.get(name)
        if setting:
            return setting
        if default is None:
            raise MissingSetting(
                f"the environment variable {name} is not set: set it, "
                f"or give a default as ${{{name}:-…}}"
            )
        return default

    return _VARIABLE.sub(value, text)


def names_in(text: str) -> tuple[str, ...]:
    """The variables that ``text`` names."""
    return tuple(match.group(1) for match in _VARIABLE.finditer(text))


@dataclass(frozen=True)
class Settings:
    """The settings that the whole project reads from the environment.

    :ivar lake: ``s3://bucket/prefix`` (``HEADRACE_LAKE``).
    :ivar sources: YAML files and folders of them (``HEADRACE_SOURCES``, ``:``-separated).
    :ivar budget: where budgets are shared (``HEADRACE_BUDGET``); None = a folder on this machine.
    :ivar cache: the folder of cached responses (``HEADRACE_CACHE``); None = the process's memory.
    :ivar executor: ``module:attribute`` (``HEADRACE_EXECUTOR``); None = the project's own.
    :ivar executor_config: a YAML file (``HEADRACE_EXECUTOR_CONFIG``).
    :ivar alert_url: a webhook that is told of failures (``HEADRACE_ALERT_URL``); None = nobody is.
    :ivar alert_form: of its messages (``HEADRACE_ALERT_FORM``); None = ``slack`` for Slack's host,
        else ``generic``.
    :ivar ui_url: the address of Dagster's UI, for links in messages (``HEADRACE_UI_URL``).
    :ivar metrics: ``otlp`` exports counters (``HEADRACE_METRICS``); None = none are.
    :ivar strict: a source that can't be loaded is an error of all (``HEADRACE_STRICT``).
    """

    lake: str
    sources: tuple[str, ...]
    budget: str | None = field(repr=False)  # a URL may hold a password
    cache: str | None = None
    executor: str | None = None
    executor_config: str | None = None
    strict: bool = False
    alert_url: str | None = field(default=None, repr=False)  # whoever has it can write there
    alert_form: str | None = None
    ui_url: str | None = None
    metrics: str | None = None

    @classmethod
    def read(cls, env: Mapping[str, str]) -> "Settings":
        """The settings in an environment.

        :raises ConfigError: ``HEADRACE_LAKE`` is missing.
        """
        lake = env.get("HEADRACE_LAKE", "").strip()
        if not lake:
            raise ConfigError(
                "`HEADRACE_LAKE` is not set: expected the lake's URL, such as s3://bucket/prefix"
            )
        return cls(
            lake=lake,
            sources=source_folders(env),
            budget=env.get("HEADRACE_BUDGET") or None,
            cache=env.get("HEADRACE_CACHE") or None,
            executor=env.get("HEADRACE_EXECUTOR") or None,
            executor_config=env.get("HEADRACE_EXECUTOR_CONFIG") or None,
            alert_url=env.get("HEADRACE_ALERT_URL", "").strip() or None,
            alert_form=env.get("HEADRACE_ALERT_FORM") or None,
            metrics=env.get("HEADRACE_METRICS") or None,
            ui_url=env.get("HEADRACE_UI_URL") or None,
            strict=env.get("HEADRACE_STRICT", "").lower() not in ("", "0", "false", "no"),
        )


def source_folders(env: Mapping[str, str]) -> tuple[str, ...]:
    """The YAML files of sources, and the folders of them."""
    folders = env.get("HEADRACE_SOURCES") or "sources"
    return tuple(folder for folder in folders.split(":") if folder)
