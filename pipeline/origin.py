"""The origin of a URL: scheme, host and port. Credentials never leave that of ``base_url``.

Hosts are compared as they are sent: an international name and its ASCII form are one, and so are a
scheme's own port and none.
"""

from typing import Final

import httpx

from pipeline.errors import ContractBroken

MAX_CHARS: Final = 65_536
"""Of a URL; httpx builds no longer one."""
_ENDS: Final = ("/", "?", "")
NO_URL: Final = "the next page's link is no URL: expected http(s)://… without a user in it"


def origin_of(url: str) -> str:
    """The origin of an absolute URL, such as ``https://api.example:443``.

    :raises ContractBroken: the text is no absolute URL of HTTP.
    """
    if len(url) > MAX_CHARS:
        raise ContractBroken(
            f"the next page's link has {len(url):,} characters, expected at most {MAX_CHARS:,}"
        )
    try:
        parts = httpx.URL(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        host = parts.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError, TypeError):
        raise ContractBroken(NO_URL) from None
    if not host or port is None or parts.userinfo:
        raise ContractBroken(NO_URL)
    return f"{parts.scheme}://{host}:{port}"


def check_origin(url: str, base_url: str) -> None:
    """Refuse to send credentials elsewhere.

    :param base_url: of the source; the origin of it is where they may go.
    :raises ContractBroken: the URL leads to another scheme, host or port, or is none.
    """
    base = base_url.rstrip("/")
    if len(url) <= MAX_CHARS and url.startswith(base) and url[len(base) : len(base) + 1] in _ENDS:
        return  # the host ends where that of base_url does
    found, expected = origin_of(url), origin_of(base_url)
    if found != expected:
        raise ContractBroken(
            f"the next page's link leads to {found}, expected {expected}: it is not followed, "
            "since the credentials would go there"
        )
