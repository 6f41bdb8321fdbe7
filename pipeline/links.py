"""The URL of the next page, and why a link to elsewhere is never followed.

A link is asked for with the source's credentials; one to another host or scheme would give them
away.
"""

import re
from urllib.parse import urljoin, urlsplit

from pipeline.client import Answer
from pipeline.errors import ContractBroken
from pipeline.spec.paging import Link

_NEXT = re.compile(r"<([^>]*)>\s*;[^,]*\brel=\"?next\"?", re.IGNORECASE)


def next_url(paging: Link, in_body: object, answer: Answer, base_url: str) -> str | None:
    """The absolute URL of the next page, or None at the end.

    :raises ContractBroken: the link leads to another host or scheme.
    """
    if paging.next is not None:
        target = str(in_body) if in_body else None
    else:
        found = _NEXT.search(answer.headers.get("link", ""))
        target = found.group(1) if found else None
    if not target:
        return None
    url = urljoin(answer.url, target)
    if _origin(url) != _origin(base_url):
        raise ContractBroken(
            f"the next page's link leads to {_origin(url)}, expected {_origin(base_url)}: it is "
            f"not "
            "followed, since the credentials would go there"
        )
    return url


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"
