"""An operation of AWS as an HTTP request, and its response as JSON: by botocore, and without I/O.

botocore writes the request, signs it and reads the response. The sending is the engine's: one place
decides on budgets, retries and deadlines, and botocore's own retries have no part in it.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from urllib.parse import unquote, urlencode

import jmespath
import orjson
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest, HeadersDict
from botocore.credentials import ReadOnlyCredentials
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserError, create_parser
from botocore.serialize import create_serializer

from pipeline.aws.service_models import AwsOperation, loader, service
from pipeline.errors import ConfigError

NEXT: Final = "_next"
"""In a page's JSON: the parameters of the next page; missing at the end."""
_POLICIES: Final = frozenset({"AssumeRolePolicyDocument", "PolicyDocument", "Document"})
_UNQUOTED: Final = frozenset({"ResourceId", "DelegationSetId", "ChangeId"})
"""Shapes of Route 53 whose values its own lists give with a path before them: `/hostedzone/Z1`."""


@dataclass(frozen=True)
class ServiceEndpoint:
    """The endpoint of a service in a region: its URL, and the names that signatures have.

    :ivar url: without a path.
    """

    url: str
    signing_name: str
    signing_region: str


@cache
def service_endpoint(
    service_name: str, region: str, override: str | None = None, host_prefix: str = ""
) -> ServiceEndpoint:
    """The endpoint of a service in a region, by botocore's rules.

    :param override: the URL to send to in place of AWS's own, such as an emulator's.
    :param host_prefix: stands before the host that the rules have.
    :raises ConfigError: the rules have none.
    """
    model = service(service_name)
    name = str(model.signing_name)
    if override is not None:
        return ServiceEndpoint(override.rstrip("/"), name, region)
    rules, provider = _rules(service_name)
    parameters: dict[str, Any] = {"Region": region}
    defaults = {n: of["default"] for n, of in rules["parameters"].items() if "default" in of}
    try:
        endpoint = provider.resolve_endpoint(**{**defaults, **parameters})
    except BotoCoreError as error:
        raise ConfigError(f"`{service_name}` has no endpoint in `{region}`: {error}") from None
    schemes: list[dict[str, Any]] = endpoint.properties.get("authSchemes") or []
    scheme = next((each for each in schemes if each.get("name") == "sigv4"), {})
    return ServiceEndpoint(
        str(endpoint.url).rstrip("/").replace("://", f"://{host_prefix}", 1),
        str(scheme.get("signingName", name)),
        str(scheme.get("signingRegion", region)),
    )


@cache
def _rules(service_name: str) -> tuple[dict[str, Any], EndpointProvider]:
    rules = loader().load_service_model(service_name, "endpoint-rule-set-1")
    return rules, EndpointProvider(rules, loader().load_data("partitions"))


@dataclass(frozen=True)
class WireRequest:
    """A request without credentials."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


def written(operation: AwsOperation, params: Mapping[str, Any], endpoint_url: str) -> WireRequest:
    """The HTTP request of an operation.

    :raises ConfigError: the parameters do not fit the operation.
    """
    members = _fitted(operation, params)
    try:
        request = _serializer(operation.protocol).serialize_to_request(members, operation.model)
    except (BotoCoreError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"the parameters of `{operation.name}` do not fit it ({error}): check `params`"
        ) from None
    url = endpoint_url + str(request["url_path"])
    if query := request.get("query_string"):
        text = query if isinstance(query, str) else urlencode(query, doseq=True)
        url += ("&" if "?" in url else "?") + text
    headers = {str(name): str(value) for name, value in request["headers"].items()}
    body = request["body"]
    if isinstance(body, Mapping):
        body = urlencode(body, doseq=True)
    content = body.encode() if isinstance(body, str) else bytes(body or b"")
    return WireRequest(str(request["method"]), url, headers, content)


def _fitted(operation: AwsOperation, params: Mapping[str, Any]) -> dict[str, Any]:
    """With what botocore's own client changes of parameters."""
    if operation.service != "route53" or operation.model.input_shape is None:
        return dict(params)
    shapes = operation.model.input_shape.members
    return {
        name: str(value).rsplit("/", 1)[-1]
        if name in shapes and shapes[name].name in _UNQUOTED
        else value
        for name, value in params.items()
    }


@cache
def _serializer(protocol: str) -> Any:
    return create_serializer(protocol, include_validation=False)


def signature(
    request: WireRequest, credentials: ReadOnlyCredentials, endpoint: ServiceEndpoint
) -> dict[str, str]:
    """The headers that sign a request, as it is sent now."""
    signed = AWSRequest(request.method, request.url, dict(request.headers), request.content)
    kind = S3SigV4Auth if endpoint.signing_name == "s3" else SigV4Auth
    kind(credentials, endpoint.signing_name, endpoint.signing_region).add_auth(signed)
    before = {name.lower() for name in request.headers}
    return {str(n): str(v) for n, v in signed.headers.items() if n.lower() not in before}


@dataclass(frozen=True)
class WireResponse:
    """A response, read.

    :ivar error: the code of an error; empty for a page.
    :ivar message: of an error, in AWS's words.
    """

    members: Mapping[str, Any]
    error: str = ""
    message: str = ""


def read(
    operation: AwsOperation, status: int, headers: Mapping[str, str], body: bytes
) -> WireResponse:
    """The content of a response.

    :raises ValueError: it can't be read as the service's protocol has it.
    """
    raw = {"status_code": status, "headers": HeadersDict(headers), "body": body}
    failed, unread = status >= 300, ""
    members: dict[str, Any] = {}
    try:
        members = _parser(operation.protocol).parse(raw, operation.model.output_shape)
    except (ResponseParserError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        unread = f"the response can't be read ({type(error).__name__})"
    members.pop("ResponseMetadata", None)
    refusal = members.get("Error", {}) if failed else _error_in_page(operation, members, body)
    if failed or refusal:
        code = str(refusal.get("Code") or status).rpartition("#")[2].partition(":")[0]
        return WireResponse({}, code, str(refusal.get("Message") or ""))
    if unread:
        raise ValueError(unread)
    return WireResponse(_plain_policies(members) if operation.service == "iam" else members)


_XML_ERROR: Final = re.compile(rb"<Code>([^<]*)</Code>(?:\s*<Message>([^<]*)</Message>)?")


def _error_in_page(
    operation: AwsOperation, members: Mapping[str, Any], body: bytes
) -> dict[str, str]:
    """The error in a body whose status says that it is a page; empty if it is one.

    Else an error would be read as a page without rows, and all rows as deleted.

    :raises ValueError: the body is not of this operation.
    """
    shape = operation.model.output_shape
    if shape is None or any(members.get(name) not in (None, [], {}) for name in shape.members):
        return {}
    if not body.strip():
        raise ValueError("the response is empty")
    if operation.protocol in ("json", "rest-json"):
        return _error_in_json(shape.members, body)
    root = re.search(rb"<(?:\w+:)?([A-Za-z]\w*)", body)
    name = root[1].decode() if root else ""
    if name.endswith(("Response", "Result")) and name not in ("Response", "ErrorResponse"):
        return {}
    if code := _XML_ERROR.search(body):
        return {"Code": code[1].decode(), "Message": (code[2] or b"").decode("utf-8", "replace")}
    raise ValueError(f"the response is `{name}`, expected `{operation.api_name}Response`")


def _error_in_json(known: Mapping[str, Any], body: bytes) -> dict[str, str]:
    """:raises ValueError: the body is an object of something else."""
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError("the response is no JSON") from None
    names = {*page} if isinstance(page, dict) else set()
    if code := names & {"__type", "code"} - {*known}:
        message = page.get("message") or page.get("Message") or ""
        return {"Code": str(page[code.pop()]), "Message": str(message)}
    wire_names = {shape.serialization.get("name", name) for name, shape in known.items()}
    if names and not names & wire_names:
        raise ValueError(f"the response has `{min(names)}`, expected some of {', '.join(known)}")
    return {}


def _plain_policies(value: Any) -> Any:
    """IAM writes policies as a URL would have them; they are JSON."""
    if isinstance(value, list):
        return [_plain_policies(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        name: unquote(of) if name in _POLICIES and isinstance(of, str) else _plain_policies(of)
        for name, of in value.items()
    }


@cache
def _parser(protocol: str) -> Any:
    return create_parser(protocol)


def next_params(operation: AwsOperation, members: Mapping[str, Any]) -> dict[str, Any] | None:
    """The parameters of the next page beside those of this one; None at the end.

    :raises ValueError: more pages follow, and the page does not say how to ask for them.
    """
    paging = operation.paging
    if paging is None or (paging.more and not _search(paging.more, members)):
        return None
    following = {
        name: value
        for name, at in zip(paging.inputs, paging.outputs, strict=True)
        if (value := _search(at, members)) not in (None, "", [], {})
    }
    if paging.more and not following:
        raise ValueError(
            f"the page says that more follow (`{paging.more}`), and has no "
            f"`{', '.join(paging.outputs)}` to ask for them"
        )
    return following or None


def _search(expression: str, members: Mapping[str, Any]) -> Any:
    return jmespath.search(expression, members)


def has_rows(members: Mapping[str, Any], path: str) -> bool:
    """Whether there is anything at the place of the rows."""
    level: list[Any] = [members]
    for part in filter(None, path.split(".")):
        below: list[Any] = []
        for value in level:
            if part == "*":
                below += value.values() if isinstance(value, Mapping) else value or ()
            elif isinstance(value, Mapping) and value.get(part) is not None:
                below.append(value[part])
        level = below
    return any(level)


def page_json(operation: AwsOperation, members: Mapping[str, Any]) -> bytes:
    """A page as the JSON decoder reads it, with the parameters of the next one."""
    following = next_params(operation, members)
    page = {**members, NEXT: following} if following is not None else members
    return orjson.dumps(page, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if hasattr(value, "read"):
        return value.read()
    return str(value)
