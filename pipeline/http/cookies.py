"""The cookies of a run: none, unless the source wants them.

Cookies are off, unless the source says ``cookies: true``: then few are sent, and only those of the
run. With cookies an API can change what later requests mean, or make them too large.
"""

from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import Final
from urllib.request import Request

import httpx

MAX_COOKIE_BYTES: Final = 8192
"""Of all cookies together: many servers refuse longer headers."""


class _NoCookies(DefaultCookiePolicy):
    """Takes none, and sends none."""

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        return False

    def return_ok(self, cookie: Cookie, request: Request) -> bool:
        return False


class _FewCookies(DefaultCookiePolicy):
    """Takes cookies that fit; by the rules of hosts and paths."""

    jar: CookieJar

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        others = sum(_bytes(other) for other in self.jar if other.name != cookie.name)
        return others + _bytes(cookie) <= MAX_COOKIE_BYTES and super().set_ok(cookie, request)


class ResponseCookies(httpx.Cookies):
    """The cookies of a session. httpx prepares the reading of cookies for responses without any."""

    def extract_cookies(self, response: httpx.Response) -> None:
        if "set-cookie" in response.headers:
            super().extract_cookies(response)


def cookie_jar(*, sent_back: bool) -> CookieJar:
    """The cookies of one run.

    :param sent_back: what the API sets is sent back to it.
    """
    if not sent_back:
        return CookieJar(_NoCookies())
    policy = _FewCookies()
    policy.jar = jar = CookieJar(policy)
    return jar


def _bytes(cookie: Cookie) -> int:
    return len(cookie.name) + len(cookie.value or "")
