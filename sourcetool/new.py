"""``new``: one page of an API, and the YAML that it suggests."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson
import yaml
from rich.console import Console
from rich.markup import escape

from pipeline.config import load_source
from pipeline.config.settings import interpolate
from pipeline.decode import DEFAULT_FORMAT
from pipeline.decode.body_checks import BadBody
from pipeline.errors import ConfigError
from sourcetool.infer import Guess, guess

TIMEOUT_S = 30.0
MOST_DECLARED = 60


@dataclass(frozen=True)
class Key:
    """A key that the API wants in a header.

    :ivar setting: the environment variable that holds it. The YAML names it, and never its value.
        For ``Authorization`` it is a bearer's, unless it says another scheme (``token abc``).
    """

    header: str
    setting: str

    def sent(self, env: Mapping[str, str]) -> dict[str, str]:
        """The header that is sent.

        :raises ConfigError: the setting is missing.
        """
        value = interpolate(self._named, env)
        return {self.header: f"Bearer {value}" if self._is_bearer(env) else value}

    def as_auth(self, env: Mapping[str, str]) -> dict[str, str]:
        if self._is_bearer(env):
            return {"kind": "bearer", "token": self._named}
        return {"kind": "api_key", "name": self.header, "key": self._named}

    @property
    def _named(self) -> str:
        return f"${{{self.setting}}}"

    def _is_bearer(self, env: Mapping[str, str]) -> bool:
        return self.header.lower() == "authorization" and " " not in interpolate(self._named, env)


def new(url: str, name: str | None, folder: str, console: Console, key: Key | None = None) -> int:
    """Write ``folder/name.yaml``; 0, or 2 if nothing could be proposed."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"expected a URL that starts with http:// or https://, got {url!r}")
        source = name or _plain(parts.hostname.removeprefix("api.").split(".")[0])
        file = Path(folder) / f"{source}.yaml"
        if file.exists():
            raise ConfigError(f"{file} is there already: take it away, or give another --name")
        answer = _ask(url, key.sent(os.environ) if key else {})
        found = guess(_json(answer.content), answer.headers, parse_qsl(parts.query))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(propose(source, url, found, key), encoding="utf-8")
        load_source(file)
    except (ConfigError, ValueError) as error:
        console.print(
            f"[bold red]✗[/] {escape(str(error) or type(error).__name__)}", highlight=False
        )
        return 2
    console.print(
        f"[green]✓[/] {file}: {found.rows} rows seen. Next: make check-source SOURCE={file}"
    )
    for doubt in found.doubts:
        console.print(f"  [yellow]?[/] {escape(doubt)}", highlight=False)
    return 0


_HINTS = {
    401: " (one that wants a key: name its header and the setting that holds it, with "
    "--key-header X-Api-Key --key-setting MY_API_KEY; of a bearer's it is Authorization)",
    405: " (one that is asked by POST: see 'By POST' in docs/sources.md)",
}


def _ask(url: str, key: Mapping[str, str]) -> httpx.Response:
    headers = {"Accept": DEFAULT_FORMAT.accept, "User-Agent": "headrace", **key}
    try:
        answer = httpx.get(url, headers=headers, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        host = urlsplit(url).netloc.rpartition("@")[2]
        raise ValueError(f"no answer from {host} ({type(error).__name__}): is it right?") from None
    if answer.status_code != 200:
        said = " ".join(answer.text.split())[:200]
        for value in key.values():
            said = said.replace(value, "***")
        hint = _HINTS.get(401 if answer.status_code == 403 else answer.status_code, "")
        raise ValueError(f"the API answered {answer.status_code}: {said}{hint}")
    return answer


def _json(body: bytes) -> Any:
    """An answer's body.

    :raises ValueError: it is not JSON.
    """
    try:
        DEFAULT_FORMAT.check(body)
        return orjson.loads(body)
    except (BadBody, orjson.JSONDecodeError) as error:
        raise ValueError(
            f"the answer can't be read: {error}. Only JSON is: does the API have a parameter for "
            "it, such as format=json?"
        ) from None


def propose(source: str, url: str, found: Guess, key: Key | None = None) -> str:
    """The YAML as text, its doubts as comments."""
    parts = urlsplit(url)
    above, _, last = parts.path.rstrip("/").rpartition("/")
    endpoint: dict[str, Any] = {"path": last + "/" * parts.path.endswith("/")}
    if found.params:
        endpoint["request"] = {"params": found.params}
    if found.window:
        endpoint["window"] = found.window
    endpoint["paging"] = found.paging
    if found.rows_path:
        endpoint["rows"] = found.rows_path
    endpoint["key"] = [found.key or next(iter(found.columns))]
    if found.cursor:
        endpoint["cursor"] = found.cursor
    endpoint["columns"] = {
        name: {"type": kind, "path": found.paths[name]} if name in found.paths else kind
        for name, kind in list(found.columns.items())[:MOST_DECLARED]
    }
    if found.paging["kind"] == "offset":
        endpoint["order"] = "none"
    data = {"endpoints": {_plain(last.split(".")[0]) or "rows": endpoint}}
    body = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    auth = yaml.safe_dump({"auth": key.as_auth(os.environ)}, sort_keys=False) if key else ""
    doubts = "".join(f"# ? {doubt}\n" for doubt in found.doubts)
    return (
        f"# Proposed from one page ({found.rows} rows). What the API's docs have to say:\n"
        f"{doubts}"
        "# ? how fast may it be asked? Add limits: {windows: [{requests: 10, per_s: 1}]}\n"
        f"source: {source}\n"
        f"base_url: {parts.scheme}://{parts.netloc}{above}\n"
        f"{auth}"
        "start: 2026-11-01 # the first day; everything before it lands there\n"
        "safety_margin_s: 3600\n"
        f"{body}"
    )


def _plain(text: str) -> str:
    """As a name: lower case letters, digits and _, starting with a letter."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"api_{name}" if name else ""
