"""``new``: one page of an API, and the YAML that it suggests."""

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import yaml
from rich.console import Console
from rich.markup import escape

from pipeline.config import load_source
from pipeline.decode import DEFAULT_FORMAT
from pipeline.decode.body_checks import BadBody
from pipeline.decode.error_words import reason_for_no_rows
from pipeline.errors import ConfigError, counted, printable
from pipeline.redaction import contains_secret, redact
from sourcetool.check import as_asked_for
from sourcetool.fetch import fetch
from sourcetool.infer import Guess, guess
from sourcetool.new_request import Proposal, RequestOptions, request_of, with_leaves
from sourcetool.show import print_refusal

MOST_DECLARED = 60
_GUARDED_CHARS = 8
"""A secret of fewer characters may be a part of any word of the YAML."""


def new(
    url: str, name: str | None, folder: str, console: Console, options: RequestOptions | None = None
) -> int:
    """Write ``folder/name.yaml``; 0, or 2 if nothing could be proposed: then there is no file."""
    secrets: set[str] = set()
    try:
        options = options or RequestOptions(url)
        source = name or _plain(host_of(url).removeprefix("api.").split(".")[0])
        file = Path(folder) / f"{source}.yaml"
        if file.exists():
            raise ConfigError(f"{file} is there already: take it away, or give another --name")
        proposal = request_of(options, source, os.environ)
        secrets = proposal.secrets
        response = _ask(proposal)
        inferred = _guess(_json(response.content), response, proposal)
        text = propose(source, proposal, inferred)
        _write(file, text, proposal)
    except (ConfigError, ValueError) as error:
        reason = redact(str(error) or type(error).__name__, secrets)
        print_refusal(console, reason)
        return 2
    missing = [
        name for name in proposal.settings if os.environ.get(name) != proposal.settings[name]
    ]
    setting = f"set {', '.join(missing)} (what was in the request), then " if missing else ""
    console.print(
        f"[green]✓[/] {file}: {counted(inferred.rows, 'row')} seen. Next: {setting}"
        f"make check-source SOURCE={as_asked_for(file, source)}",
        highlight=False,
    )
    for doubt in [*inferred.doubts, _HOW_FAST]:
        console.print(
            f"  [yellow]?[/] {escape(printable(redact(doubt, secrets)))}", highlight=False
        )
    return 0


_HOW_FAST = "how fast may it be asked? Add limits: {windows: [{requests: 10, per_s: 1}]}"


_HINTS = {
    401: " (one that wants a key: name its header and the setting that holds it, with "
    "--key-header X-Api-Key --key-setting MY_API_KEY; of a bearer's it is Authorization; for a "
    "user and a password --basic MY_USER:MY_PASSWORD; of a key that stands in Authorization "
    "without Bearer --header 'Authorization: ${MY_KEY}')",
    405: " (one that is asked by POST: give its body with --json '{…}' or --form 'a=1&b=2')",
}


def _ask(proposal: Proposal) -> httpx.Response:
    headers = {"Accept": DEFAULT_FORMAT.accept, "User-Agent": "headrace", **proposal.sent_headers}
    response = fetch(proposal.method, proposal.url, headers, proposal.content)
    if response.status_code != 200:
        excerpt = " ".join(response.text[:100_000].split())
        excerpt = redact(excerpt, proposal.secrets, withheld="(it repeats a secret)")[:200]
        hint = _HINTS.get(401 if response.status_code == 403 else response.status_code, "")
        raise ValueError(f"the API responded {response.status_code}: {excerpt}{hint}")
    return response


def _guess(body: Any, response: httpx.Response, proposal: Proposal) -> Guess:
    """The guess at the endpoint's YAML.

    :raises ValueError: the response has no rows, and may say of an error in their place.
    """
    try:
        return guess(body, response.headers, proposal.visible())
    except ValueError:
        error = reason_for_no_rows(body, ("rows",))
        if error is None:
            raise
        words = " ".join(str(error[1]).split())[:200]
        raise ValueError(
            f"the API responded 200, and says of an error at `{error[0]}`: {words}{_HINTS[401]}"
        ) from None


def _write(file: Path, text: str, proposal: Proposal) -> None:
    """The file, once it has been loaded from elsewhere.

    :raises ConfigError: it would not load, or has a secret in it.
    """
    long = {secret for secret in proposal.secrets if len(secret) >= _GUARDED_CHARS}
    if contains_secret(text, long):
        raise ConfigError(
            "a credential of the request is in the response's names too, and would be in the YAML: "
            "write the YAML by hand"
        )
    with TemporaryDirectory() as folder:
        draft = Path(folder) / file.name
        draft.write_text(text, encoding="utf-8")
        try:
            load_source(draft, {**os.environ, **proposal.settings})
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(draft), "the proposal")) from None
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as out:
        out.write(text)


def host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _json(body: bytes) -> Any:
    """The body of a response.

    :raises ValueError: it is not JSON.
    """
    try:
        DEFAULT_FORMAT.check(body)
        return orjson.loads(body)
    except (BadBody, orjson.JSONDecodeError) as error:
        raise ValueError(
            f"the response can't be read: {error}. A YAML is proposed from JSON only: write that "
            "of another format by hand (docs/how-to/rows.md#formats)"
        ) from None


def propose(source: str, proposal: Proposal, inferred: Guess) -> str:
    """The YAML as text, its doubts as comments."""
    endpoint: dict[str, Any] = {"path": proposal.path}
    if request := _request(proposal, inferred):
        endpoint["request"] = request
    if inferred.window:
        endpoint["window"] = inferred.window
    endpoint["paging"] = inferred.paging
    if inferred.rows_path:
        endpoint["rows"] = inferred.rows_path
    endpoint["key"] = [inferred.key or next(iter(inferred.columns))]
    if inferred.cursor:
        endpoint["cursor"] = inferred.cursor
    endpoint["columns"] = {
        name: {"type": kind, "path": inferred.paths[name]} if name in inferred.paths else kind
        for name, kind in list(inferred.columns.items())[:MOST_DECLARED]
    }
    if inferred.paging["kind"] == "offset":
        endpoint["order"] = "none"
    name = _plain(proposal.path.rstrip("/").split(".")[0]) or "rows"
    data = {"endpoints": {"rows" if "${" in proposal.path else name: endpoint}}
    body = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    auth = yaml.safe_dump({"auth": proposal.auth}, sort_keys=False) if proposal.auth else ""
    doubts = "".join(
        f"# ? {' '.join(printable(doubt).split())}\n" for doubt in [*inferred.doubts, _HOW_FAST]
    )
    return (
        f"# Proposed from one page ({counted(inferred.rows, 'row')}). "
        "What the API's docs have to say:\n"
        f"{doubts}"
        f"source: {source}\n"
        f"base_url: {proposal.base_url}\n"
        f"{auth}"
        "start: 2026-11-01 # the first day; everything before it lands there\n"
        "safety_margin_s: 3600\n"
        f"{body}"
    )


def _request(proposal: Proposal, inferred: Guess) -> dict[str, Any]:
    """The request with the placeholders that were found; what is new goes where the others are."""
    changed = dict(inferred.params)
    visible = {name for name, _ in proposal.visible()}
    added = {name: changed.pop(name) for name in [*changed] if name not in visible}
    params = {name: changed.pop(name, value) for name, value in proposal.params.items()}
    request: dict[str, Any] = {} if proposal.method == "GET" else {"method": proposal.method}
    if proposal.json is None and proposal.form is None:
        params |= added
        added = {}
    if params:
        request["params"] = params
    if proposal.headers:
        request["headers"] = proposal.headers
    if proposal.json is not None:
        request["json"] = with_leaves(proposal.json, changed) | added
    if proposal.form is not None:
        request["form"] = {n: changed.get(n, v) for n, v in proposal.form.items()} | added
    return request


def _plain(text: str) -> str:
    """A text as a name: lower case letters, digits and _, starting with a letter."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"api_{name}" if name else ""
