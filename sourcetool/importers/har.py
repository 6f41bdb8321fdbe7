"""A HAR file, as browsers save it: its requests whose responses are JSON become endpoints."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from pipeline.errors import ConfigError
from sourcetool.importers.samples import RequestSample, with_body
from sourcetool.infer import guess


def is_har(data: Any) -> bool:
    """Whether a document is a HAR file."""
    return isinstance(data, dict) and isinstance(data.get("log"), dict) and "entries" in data["log"]


def har_samples(data: Mapping[str, Any]) -> list[RequestSample]:
    """The requests for lists, the first host's.

    :raises ConfigError: there are none.
    """
    samples = list(_samples(data["log"].get("entries") or []))
    if not samples:
        raise ConfigError(
            "the HAR file has no GET or POST whose response is JSON with a list of objects in it"
        )
    return samples


def _samples(entries: list[Any]) -> Iterator[RequestSample]:
    for entry in entries:
        request, response = entry.get("request") or {}, entry.get("response") or {}
        method = str(request.get("method", "")).upper()
        if method not in ("GET", "POST") or response.get("status") != 200:
            continue
        body = _body(response.get("content") or {})
        sample = RequestSample(method, str(request.get("url", "")), _pairs(request.get("headers")))
        sample.response_headers = {k.lower(): v for k, v in _pairs(response.get("headers")).items()}
        sample.body = body
        try:
            guess(body, sample.response_headers, [])
        except ValueError:
            continue
        posted = request.get("postData") or {}
        with_body(sample, posted.get("text"), str(posted.get("mimeType", "")).lower())
        yield sample


def _pairs(headers: Any) -> dict[str, str]:
    return {str(header.get("name")): str(header.get("value")) for header in headers or []}


def _body(content: Mapping[str, Any]) -> Any:
    text = content.get("text") or ""
    try:
        raw = base64.b64decode(text) if content.get("encoding") == "base64" else text
        return orjson.loads(raw)
    except ValueError:
        return None
