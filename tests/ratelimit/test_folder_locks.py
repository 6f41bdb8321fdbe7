"""A file system that gives no locks, or fails: a sentence that says so, and no traceback."""

import asyncio
import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from pipeline import ratelimit
from pipeline.errors import HeadraceError


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOLCK, "gives no locks (ENOLCK)"), (errno.EIO, "fails (EIO)")],
)
def test_locks_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    """No file system of a test machine can be made to do so."""

    def refuse(*_: Any) -> None:
        raise OSError(number, "as the system says")

    limits = ratelimit.Limits((ratelimit.RateWindow(10, 1.0),), in_flight=2)
    monkeypatch.setattr(fcntl, "flock", refuse)

    async def send() -> None:
        async with ratelimit.open_budget("key", limits, str(tmp_path)) as budget, budget.request():
            pass

    with pytest.raises(HeadraceError, match=r"can't be used, since ") as caught:
        asyncio.run(send())
    assert said in str(caught.value)
    assert "HEADRACE_BUDGET" in str(caught.value)
