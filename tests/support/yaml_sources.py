"""Sources for tests, from a few lines of YAML."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config import Source, load_source


def source_of(yaml: str, env: Mapping[str, str] | None = None) -> Source:
    with TemporaryDirectory() as folder:
        file = Path(folder, "api.yaml")
        file.write_text(textwrap.dedent(yaml), encoding="utf-8")
        return load_source(file, env or {})


def quick(
    base_url: str,
    *,
    auth: str = "{kind: none}",
    timeouts: str = "{connect_s: 2, read_s: 0.3, total_s: 1}",
    more: str = "",
) -> Source:
    """One endpoint, ``things``, with retries that hardly wait."""
    return source_of(
        f"""
        source: api
        base_url: {base_url}
        start: 2026-11-01
        auth: {auth}
        retries: {{timeouts: 2, errors: 3, throttled: 4, first_wait_s: 0.001, max_wait_s: 0.002}}
        timeouts: {timeouts}
        limits: {{in_flight: 50, throttle_wait_s: 0.01}}
        {more}
        endpoints:
          things: {{key: [id]}}
        """
    )
