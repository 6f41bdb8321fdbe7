"""A curl command: the request that it makes. Options that say nothing of it are passed over."""

import re
import shlex
from base64 import b64encode
from urllib.parse import quote, urlencode

import orjson

from pipeline.errors import ConfigError
from sourcetool.credentials import without_credentials
from sourcetool.fetch import fetch
from sourcetool.importers.samples import RequestSample, with_body

_VALUE = {
    **dict.fromkeys(("-X", "--request"), "method"),
    **dict.fromkeys(("-H", "--header"), "header"),
    **dict.fromkeys(("-d", "--data", "--data-raw", "--data-binary", "--data-ascii"), "data"),
    "--data-urlencode": "urlencode",
    "--json": "json",
    "--url": "url",
    "--url-query": "query",
    **dict.fromkeys(("-u", "--user"), "user"),
    "--oauth2-bearer": "bearer",
    **dict.fromkeys(("-b", "--cookie"), "cookie"),
    **dict.fromkeys(("-F", "--form", "-T", "--upload-file"), "refused"),
}
_PASSED_OVER = frozenset(
    {
        *("-o", "--output", "-A", "--user-agent", "-e", "--referer", "-w", "--write-out"),
        *("-m", "--max-time", "--connect-timeout", "--retry", "-c", "--cookie-jar", "--resolve"),
        *("-x", "--proxy", "--cacert", "--cert", "--key", "-D", "--dump-header", "--limit-rate"),
    }
)
"""Options with a value that says nothing of the request."""
_SHORT = frozenset("XHdubFTowAemcxD")
"""Short options with a value, which may stand without a blank before it."""


def parse_curl(command: str) -> RequestSample:
    """The request of a command.

    :raises ConfigError: it is no curl command, or sends files.
    """
    try:
        words = shlex.split(_plain(command))
    except ValueError as error:
        raise ConfigError(f"the curl command can't be read: {error}: is a quote missing?") from None
    if not words or words[0].rpartition("/")[2] not in ("curl", "curl.exe"):
        word = words[0] if words and re.fullmatch(r"[a-z]{1,12}", words[0]) else "something else"
        raise ConfigError(f"expected a command that begins with curl, got {word!r}")
    options: dict[str, list[str]] = {}
    flags: set[str] = set()
    rest = iter(words[1:])
    for word in rest:
        name, value = _option(word, flags)
        if not word.startswith("-") or word == "-":
            options.setdefault("url", []).append(word)
        elif name in _VALUE or name in _PASSED_OVER:
            value = next(rest, "") if value is None else value
            options.setdefault(_VALUE.get(name, "passed over"), []).append(value)
        else:
            flags.add(name)
    return _sample(options, flags)


def _plain(command: str) -> str:
    """A command as a POSIX shell reads it: of prompts, of Windows' carets, of ``$'…'``."""
    text = re.sub(r"^\s*[$>#]\s+(?=\S*curl)", "", command).replace("\r\n", "\n")
    if '^"' in text or "^\n" in text:
        text = re.sub(r"\^(.)", r"\1", text.replace("^\n", " "))
    text = text.replace("\\\n", " ")
    return re.sub(r"(?<![\w'\"])\$'((?:[^'\\]|\\.)*)'", _ansi, text)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "'": "'", '"': '"', "\\": "\\", "?": "?"}


def _ansi(quoted: re.Match[str]) -> str:
    """A text of ``$'…'``, with its escapes, as one word."""

    def plain(escape: re.Match[str]) -> str:
        code = escape.group(1)
        if code[0] in "xuU":
            return chr(int(code[1:], 16))
        return _ESCAPES.get(code, escape.group(0))

    pattern = r"\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,6}|.)"
    return shlex.quote(re.sub(pattern, plain, quoted.group(1), flags=re.DOTALL))


def _option(word: str, flags: set[str]) -> tuple[str, str | None]:
    """An option and its value, if it has that within; short flags before it go to ``flags``."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    if not word.startswith("-"):
        return word, None
    for at, letter in enumerate(word[1:], 1):
        if letter in _SHORT:
            return f"-{letter}", word[at + 1 :] or None
        if at < len(word) - 1:
            flags.add(f"-{letter}")
    return f"-{word[-1]}", None


def _sample(options: dict[str, list[str]], flags: set[str]) -> RequestSample:
    urls = options.get("url", [])
    if len(urls) != 1:
        raise ConfigError(f"expected one URL in the curl command, found {len(urls)}")
    if "refused" in options:
        raise ConfigError(
            "the curl command sends a file or a multipart form, which no YAML can say"
        )
    url = urls[0] if "://" in urls[0] else f"https://{urls[0]}"
    if not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"expected a URL that starts with http:// or https://, got {without_credentials(url)!r}"
        )
    headers = {}
    for line in options.get("header", []):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    if "bearer" in options:
        headers["Authorization"] = f"Bearer {options['bearer'][-1]}"
    if "user" in options:
        headers["Authorization"] = f"Basic {b64encode(options['user'][-1].encode()).decode()}"
    if "cookie" in options:
        headers["Cookie"] = options["cookie"][-1]
    data = [*options.get("data", []), *map(_encoded, options.get("urlencode", []))]
    body = "&".join(data) if data else "".join(options.get("json", [])) or None
    if body and body.startswith("@"):
        raise ConfigError(f"the body is the file {body[1:]}: put its text into the command instead")
    if flags & {"-G", "--get"} or "query" in options:
        more = "&".join([*(data if flags & {"-G", "--get"} else []), *options.get("query", [])])
        url = f"{url}{'&' if '?' in url else '?'}{more}"
        body = None if flags & {"-G", "--get"} else body
    method = options.get("method", ["POST" if body else "GET"])[-1].upper()
    if method not in ("GET", "POST"):
        raise ConfigError(f"expected a GET or a POST, got {method}: no YAML can say another method")
    sample = RequestSample(method, url, headers)
    kind = next((v for k, v in headers.items() if k.lower() == "content-type"), "")
    with_body(sample, body, "json" if "json" in options else kind.lower())
    return sample


def _encoded(text: str) -> str:
    name, equals, value = text.partition("=")
    return f"{name}={quote(value)}" if equals else quote(name)


def with_response(sample: RequestSample) -> RequestSample:
    """The sample with its response; without one, ``missing`` says why."""
    headers = {**sample.headers, "User-Agent": "headrace"}
    headers.setdefault("Accept", "application/json")
    content: bytes | None = None
    if sample.json is not None:
        content = orjson.dumps(sample.json)
        headers.setdefault("Content-Type", "application/json")
    elif sample.form is not None:
        content = urlencode(sample.form).encode()
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    elif sample.text is not None:
        content = sample.text.encode()
    try:
        response = fetch(sample.method, sample.url, headers, content)
        sample.response_headers = dict(response.headers)
        if response.status_code != 200:
            sample.missing = f"the API responded {response.status_code}"
        else:
            sample.body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        sample.missing = "the response is not JSON"
    except ValueError as error:
        sample.missing = str(error)
    return sample
