"""The pause of a token endpoint after it failed: one for all that wait for a token.

Each page that waits has retries of its own. Without a common pause each of them would ask the
endpoint again, as often as there are pages. A pause doubles with the failures in a row, and is as
long as ``Retry-After`` says at the least.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import httpx

from pipeline.auth.base import AuthContext
from pipeline.errors import RateLimited, TokenThrottled, counted
from pipeline.messages import names_a_wait

log = logging.getLogger("headrace.auth")
LONGEST_PAUSE_S: Final = 300.0
"""A longer one ends the step, and Dagster waits."""
_LOGGED_S: Final = 10.0


class TokenPause:
    """The pause of one endpoint, for all requests of a run."""

    def __init__(self, context: AuthContext) -> None:
        self._context = context
        self._failures = 0  # in a row, each of a request that was sent after the pause before
        self._until = float("-inf")
        self._reason = ""

    def begin(self, headers: Mapping[str, str] | None = None) -> None:
        """Note that the endpoint failed.

        :param headers: of a response that refuses the request as one too many.
        """
        now = self._context.clock()
        if now >= self._until:
            self._failures += 1
        asked_s = self._context.retry_after_s(headers) if headers else None
        own_s = self._context.first_wait_s * 2.0 ** min(self._failures - 1, 30)
        wait_s = max(asked_s or 0.0, min(own_s, self._context.max_wait_s))
        if now + wait_s > self._until:
            self._until = now + wait_s
            self._reason = " (Retry-After)" if asked_s == wait_s else ""
            if _LOGGED_S < wait_s <= LONGEST_PAUSE_S:
                reason = "wants fewer requests" if headers else "failed"
                log.warning(
                    "the token endpoint %s: all pages wait %.0f s for a token%s",
                    reason,
                    wait_s,
                    self._reason,
                )

    def end(self) -> None:
        """Note that the endpoint gave a token."""
        self._failures = 0

    async def wait(self) -> None:
        """Wait until the endpoint may be asked.

        :raises RateLimited: that takes longer than a run should wait.
        """
        wait_s = self._until - self._context.clock()
        if wait_s > LONGEST_PAUSE_S:
            pause = f"the token endpoint asks for a pause of {wait_s:,.0f} s{self._reason}"
            if not self._reason:
                times = counted(self._failures, "time")
                pause = (
                    f"the token endpoint failed {times} in a row, and is left alone for "
                    f"{wait_s:,.0f} s (`retries.max_wait_s`)"
                )
            raise RateLimited(
                f"Rate limited: {pause}. No token is requested before that.",
                wait_s=wait_s,
            )
        if wait_s > 0:
            with self._context.waits_for_turn():
                await asyncio.sleep(wait_s)


def throttled(response: httpx.Response) -> TokenThrottled | None:
    """The error of a response that refuses a request for a token as one too many."""
    status = response.status_code
    if status == 429 or (status == 503 and names_a_wait(response.headers)):
        return TokenThrottled(f"the token endpoint responded with {status} (too many requests)")
    return None
