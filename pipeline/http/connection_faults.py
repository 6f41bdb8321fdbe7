"""Requests without a usable response: the fault in a sentence, without the URL. Pure.

*Standing* faults are those that no retry changes: a certificate that is not trusted, a port that
speaks another protocol, a proxy that refuses. Each has the check that fits it, since ``tls.ca``
mends no certificate that has expired.

=====================================  =========================================================
reason of TLS                          fault
=====================================  =========================================================
certificate expired, not yet valid     of the API, or of this machine's clock
certificate of another name            of ``base_url``
certificate that nobody known signed   ``tls.ca``
alert about a certificate              of the client: ``tls.cert``
a wrong version number, plain HTTP     no TLS on that port
protocol version                       TLS older than 1.2
=====================================  =========================================================
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import aiohttp
import httpx

from pipeline.auth.base import FOR_TOKENS
from pipeline.config.source import Source
from pipeline.errors import ApiUnavailable, Unreachable, numbered, printable
from pipeline.http.classify import endpoint_name
from pipeline.http.retry import AttemptFailed, BreakerState, FailureKind


def no_response(error: httpx.HTTPError) -> str:
    """The reason why there is no response.

    >>> request = httpx.Request("GET", "http://api.example/things")
    >>> no_response(httpx.ReadTimeout("", request=request))
    'no response in time'
    """
    of_token = is_of_token(error)
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection to {_host(error)} in time"
    if isinstance(error, httpx.TimeoutException):
        return "no response from the token endpoint in time" if of_token else "no response in time"
    if isinstance(error, httpx.ConnectError):
        return _no_connection(error)
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return f"the proxy refused the connection with status {cause.status}"
    sender = "the token endpoint" if of_token else "the API"
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return f"{sender} closed the connection without a response"
    if isinstance(cause, aiohttp.ClientPayloadError):
        sizes = re.search(r"received (\d+) of (\d+) bytes", str(cause))
        size = f", after {int(sizes[1]):,} of {int(sizes[2]):,} bytes" if sizes else ""
        return f"the response of {sender} is cut short{size}"
    if isinstance(cause, aiohttp.ClientResponseError):
        rule = printable(cause.message.partition("\n")[0])[:100].rstrip(":")
        return f"the response of {sender} breaks the rules of HTTP ({rule})"
    connection = "the connection to the token endpoint" if of_token else "the connection"
    return f"{connection} failed ({type(error).__name__})"


def says_nothing_of_the_api(error: httpx.HTTPError) -> bool:
    """Whether the API may not be there at all: no connection, or none that speaks HTTP."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return True
    if isinstance(cause, aiohttp.ClientResponseError):
        return "status line" in cause.message
    return isinstance(error, httpx.ConnectError | httpx.TimeoutException) or isinstance(
        cause, aiohttp.ServerDisconnectedError
    )


def is_unreadable(error: httpx.HTTPError) -> bool:
    """True if a response began, and did not come to its end or breaks the rules of HTTP."""
    return isinstance(
        error.__cause__, aiohttp.ClientPayloadError | aiohttp.ClientResponseError
    ) and not says_nothing_of_the_api(error)


def is_of_token(error: httpx.HTTPError) -> bool:
    """True if the request went to the token endpoint, and not to the API."""
    return FOR_TOKENS in error.request.extensions


def is_of_proxy(error: httpx.HTTPError) -> bool:
    """True if there is no connection to a proxy, on the way to the API."""
    cause, url = error.__cause__, error.request.url
    if not isinstance(cause, aiohttp.ClientConnectorError):
        return False
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    hosts = (url.host, url.raw_host.decode("ascii"))
    return cause.host.strip("[]") not in hosts or cause.port != port


def standing_fault(error: httpx.HTTPError) -> str | None:
    """A fault that no retry changes, as a sentence; None for another one."""
    host = _host(error)
    for cause in _causes(error):
        if isinstance(cause, aiohttp.ClientHttpProxyError):
            return _refused_by_proxy(cause.status, host)
        if message := getattr(cause, "verify_message", None):
            return _untrusted(str(message).rstrip("."), host)
        if reason := _tls_reason(cause):
            return _wrong_tls(reason, host)
    return None


def unreachable(
    source: Source, subject: str, failed: AttemptFailed, unused_proxy: str | None
) -> Unreachable:
    """Without Dagster's retries: nothing shows that the API is there at all.

    :param subject: the page, and what became of it.
    """
    name = endpoint_name(source, of_token=failed.of_token)
    checks = _reachability_checks(source, failed, unused_proxy)
    return Unreachable(f"{subject}. {name} has not responded once in this run. {checks}")


def unavailable(
    source: Source,
    subject: str,
    failed: AttemptFailed | None,
    breaker: BreakerState,
    *,
    has_responded: bool,
) -> ApiUnavailable:
    """With Dagster's retries, after the wait of the breaker.

    :param subject: the page, and what became of it.
    :param failed: the last attempt; None: the breaker is open.
    :param has_responded: the API, to any request of this run.
    """
    of_token = failed is not None and failed.of_token
    responded = failed is not None and failed.responded
    known = of_token or responded or has_responded
    never = "" if known else " No response has come in this run. Check the address."
    if failed is not None and failed.kind is FailureKind.THROTTLED:
        state, check = "still refuses requests as too many", f" {_TOO_MANY[of_token]}"
    elif responded:
        state, check = "responds, but with nothing that can be read", ""
    else:
        state, check = "seems to be down or unreachable", ""
    name = endpoint_name(source, of_token=of_token)
    return ApiUnavailable(
        f"{subject}. {name} {state} (breaker {breaker.value}).{check}{never}",
        wait_s=source.breaker.open_s,
    )


_TOO_MANY: Final[Mapping[bool, str]] = {
    False: "Check: 1. `limits.windows`, which may allow more than the API does; 2. who else uses "
    "the API key.",
    True: "Check who else requests tokens with the same credentials.",
}
"""What to do where requests, or those for a token (true), stay too many."""


def _reachability_checks(source: Source, failed: AttemptFailed, unused_proxy: str | None) -> str:
    """The numbered checks where nothing shows that the API is there at all.

    :param unused_proxy: the environment's variable of a proxy that the YAML does not use.
    """
    of_token = failed.of_token
    if failed.of_proxy:
        return _to_check(["the address of the proxy, `proxy`", "that this machine may reach it"])
    checks = ["the address of the token endpoint" if of_token else "the address, `base_url`"]
    checks.append("that this machine may reach the host")
    if unused_proxy:
        checks.append(f"whether a proxy is needed: {unused_proxy} is set, and `proxy: env` uses it")
    elif source.proxy is None:
        checks.append("whether a proxy is needed: `proxy: http://host:port`")
    else:
        checks.append("whether the proxy, `proxy`, responds and allows the host")
    if not source.base_url.startswith("https:"):
        checks.append("whether it speaks TLS: https:// in place of http://")
    elif source.tls.cert:
        checks.append("whether the API accepts the certificate of `tls.cert`")
    else:
        checks.append("whether the API wants a certificate of the client: `tls: {cert, key}`")
    if failed.kind is FailureKind.TIMEOUT:
        checks.append("whether it takes longer than `timeouts` allow")
    return _to_check(checks)


_TRANSIENT: Final = (408, 425, 429)
_PROXY_CHECKS: Final = {
    407: "whether `proxy` has a user and a password: http://user:password@host:port",
    403: "whether the proxy allows this host",
}


def _refused_by_proxy(status: int, host: str) -> str | None:
    if status >= 500 or status in _TRANSIENT:
        return None
    first = _PROXY_CHECKS.get(status, "whether `proxy` is a proxy of HTTP that knows CONNECT")
    return _checked(
        f"The proxy refused the connection to {host} with status {status}",
        [first, "whether `proxy` is needed at all, or NO_PROXY has the host"],
    )


_CLIENT_CERTIFICATE: Final = re.compile(
    r"ALERT_(CERTIFICATE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED"
    r"|HANDSHAKE_FAILURE)|CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE"
)
_NO_TLS: Final = re.compile(r"WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG")
_OLD_TLS: Final = re.compile(r"PROTOCOL|TOO_SMALL|TOO_WEAK|LEGACY|NO_CIPHERS|NO_SHARED_CIPHER")
_CLOCK: Final = "the clock of this machine"


def _wrong_tls(reason: str, host: str) -> str | None:
    """The sentence on what TLS says; None if a retry may change it."""
    if _CLIENT_CERTIFICATE.search(reason):
        wants = "whether it wants a certificate of the client, and this one: `tls: {cert, key}`"
        return _checked(f"{host} ends the TLS handshake ({reason})", [wants, "`base_url`"])
    if _NO_TLS.search(reason):
        checks = ["whether `base_url` is http://", "its port", "`proxy`"]
        return _checked(f"{host} does not speak TLS ({reason})", checks)
    if _OLD_TLS.search(reason):
        newer = "whether the API has an address with TLS 1.2 or newer; Headrace speaks no older one"
        return _checked(f"{host} speaks outdated TLS ({reason})", [newer, "`proxy`"])
    return None


_UNNAMED_REASON: Final = re.compile(r"\[SSL\] ([^(]+?) \(_ssl")
"""How a Python that is older than its OpenSSL writes a reason for which it has no name."""


def _tls_reason(error: BaseException) -> str | None:
    """What OpenSSL says, as `WRONG_VERSION_NUMBER`; None for another error.

    aiohttp's own errors are SSLErrors without a reason.
    """
    if not isinstance(error, ssl.SSLError):
        return None
    if reason := getattr(error, "reason", None):
        return str(reason)
    unnamed = _UNNAMED_REASON.search(str(error.args[-1] if error.args else ""))
    return unnamed.group(1).upper().replace(" ", "_") if unnamed else None


def _untrusted(reason: str, host: str) -> str:
    finding = f"The certificate of {host} is not trusted ({reason})"
    if "expired" in reason or "not yet valid" in reason:
        return _checked(finding, [_CLOCK, "whether the API has a newer one; its owner renews it"])
    if "mismatch" in reason:
        return _checked(
            finding,
            ["`base_url`: the certificate is of another name", "`proxy`, if it opens TLS"],
        )
    bundle = (
        "`tls.ca` (or SSL_CERT_FILE, REQUESTS_CA_BUNDLE): a PEM file with the issuing authority's "
        "certificate. Add the intermediate certificates if the API sends only its own, and the "
        "proxy's authority if a proxy opens TLS"
    )
    return _checked(finding, [bundle, "`base_url`", _CLOCK])


def _checked(finding: str, checks: Sequence[str]) -> str:
    return f"{finding}. {_to_check(checks)}"


def _to_check(checks: Sequence[str]) -> str:
    return f"Check: {numbered(checks)}."


def _no_connection(error: httpx.ConnectError) -> str:
    cause, to = error.__cause__, _host(error)
    if isinstance(cause, aiohttp.ClientConnectorError) and is_of_proxy(error):
        to = f"the proxy {cause.host}:{cause.port}"
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return f"no connection to {to} (the name of the host is not known)"
    for behind in _causes(error):
        if reason := _tls_reason(behind):
            return f"no connection to {to} (TLS: {reason})"
        if isinstance(behind, ConnectionResetError) and error.request.url.scheme == "https":
            return f"no connection to {to} (the other side ended the TLS handshake)"
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return f"no connection to {to} ({os.strerror(cause.errno).lower()})"
    return f"no connection to {to}"


def _host(error: httpx.HTTPError) -> str:
    return error.request.url.netloc.decode()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        inner = (getattr(cause, name, None) for name in ("certificate_error", "os_error"))
        cause = next(filter(None, (*inner, cause.__cause__, cause.__context__)), None)
