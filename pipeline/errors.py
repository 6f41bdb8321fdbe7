"""The one error tree of the engine. Each leaf says who retries: nobody, the client, or Dagster.

    HeadraceError
    ├── Permanent                nobody retries: a retry would fail in the same way
    │   ├── ConfigError          a setting or a YAML file is wrong (with file and line)
    │   ├── Unreachable          no connection, and none in this run: is the address right?
    │   ├── AuthError            the API refuses the credentials, after one renewal of the token
    │   ├── RequestRefused       400, 403, 404, …: the API understood, and says no
    │   │   └── PageTokenDead    a page token has expired: the chain is read anew a few times
    │   ├── ContractBroken       the response is not what the source's YAML says it would be
    │   │   └── WrongFormat      the body is CSV, HTML, …, and no rows had come before
    │   ├── WindowRefused        no such partition (now): future, before start, old snapshot
    │   ├── LakeRefused          the bucket does not exist, or does not let us read or write
    │   │   └── LakeDamaged      a file is not what was written: cut, altered
    │   └── ReadRefused          a reader asks for what is not in the lake, or for no partition
    └── Retryable                Dagster starts the step again after ``wait_s``; it resumes
        ├── ApiUnavailable       the client's bounded retries are used up, or the breaker is open
        │   └── TokenThrottled   the token endpoint wants fewer requests: the client retries, first
        ├── RateLimited          the quota is used up for longer than a run should wait
        ├── LakeUnavailable      S3 did not respond as it should, after boto3's own retries
        ├── LostRace             another run took this partition over and has not finished it
        └── ReadAnew             what came does not fit what another attempt or run has read

A message says what was expected, what came, and what to do. It never holds a secret: build it from
names of settings, statuses and bodies that are ``cut``, never from headers or URLs with a query.
"""

import errno
from collections.abc import Iterable, Sequence

from pipeline.messages import Body

CUT = "…"
"""Stands where text was cut. A secret that an API repeated may have been cut with it, so that the
client shows no such text of a response that has one."""


def cut(text: str, most: int) -> str:
    """The start of a text, in at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + CUT


def counted(number: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_of(names: Sequence[str], most: int) -> str:
    """``a, b …``: the first of some names, and whether there are more."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def numbered(checks: Iterable[str]) -> str:
    """``1. the address; 2. the key``: what an error says to check."""
    return "; ".join(f"{number}. {check}" for number, check in enumerate(checks, 1))


def cut_bytes(body: Body, most: int) -> str:
    """Cut a body, as ``cut`` does a text; its bytes beyond are not looked at."""
    return cut(str(body[: most * 4], "utf-8", "replace"), most)


def printable(text: str) -> str:
    """A text that a terminal only shows: what an API says may have control characters in it."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else " " if letter.isspace() else "\ufffd"
        for letter in text
    )


_OF_THE_MACHINE = {
    errno.EMFILE: "this process has too many files open (EMFILE): raise `ulimit -n`",
    errno.ENFILE: "this machine has too many files open (ENFILE): raise `fs.file-max`",
    errno.ENOLCK: "the file system gives no locks (ENOLCK): use a folder on a local disk",
    errno.EIO: "the disk or the file system fails (EIO): look at it, and at the system's log",
    errno.ENOSPC: "the disk is full (ENOSPC): make room on it",
    errno.EDQUOT: "the quota of the disk is used up (EDQUOT): make room on it",
    errno.EROFS: "the file system can't be written (EROFS): mount it for writing",
}


def machine_problem(error: BaseException | None) -> str:
    """The problem of this machine that an error, or one that led to it, tells of; else empty.

    >>> machine_problem(OSError(errno.EMFILE, "Too many open files"))
    'this process has too many files open (EMFILE): raise `ulimit -n`'
    """
    visited: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in visited:
            continue
        visited.add(id(cause))
        if isinstance(cause, OSError) and cause.errno in _OF_THE_MACHINE:
            return _OF_THE_MACHINE[cause.errno]
        attributes = (getattr(cause, name, None) for name in ("os_error", "reason", "error"))
        nested = [each for each in (*attributes, *cause.args) if isinstance(each, BaseException)]
        waiting += [cause.__cause__, cause.__context__, *nested]
    return ""


class HeadraceError(Exception):
    """Base of every error that the engine raises on purpose. ``str(error)`` is for the user.

    :ivar outcome: what it means for the lane of a source in which it was raised: ``none``,
        ``denied``, ``throttled`` or ``failed``. Elsewhere it has no meaning.
    :ivar code: the reason in one word, as the API says it; empty if it says none.
    """

    outcome = "failed"
    code = ""

    def __str__(self) -> str:
        return printable(super().__str__())


class Permanent(HeadraceError):
    """A retry would fail in the same way."""


class ConfigError(Permanent):
    """A setting or a source's YAML is wrong."""


class Unreachable(Permanent):
    """There is no connection to the API, and there was none in this run."""


class AuthError(Permanent):
    """The API or its token endpoint refuses the credentials."""


class RequestRefused(Permanent):
    """The API refused the request itself: it would refuse it again."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class PageTokenDead(RequestRefused):
    """The token of a page has expired: the chain has to be read from its first page."""


class ContractBroken(Permanent):
    """The API's response breaks what the source's YAML says of it."""


class WrongFormat(ContractBroken):
    """The body is of another format, such as HTML, and no rows had come before it."""


class WindowRefused(Permanent):
    """The partition that was requested can't be materialized (now)."""


class LakeRefused(Permanent):
    """S3 says no: no such bucket, or no permission."""


class LakeDamaged(LakeRefused):
    """A file of the lake is not what was written there."""


class ReadRefused(Permanent):
    """The partitions or columns that a reader requests are not in the lake."""


class Retryable(HeadraceError):
    """A later attempt can succeed, and resumes from the checkpoint.

    :param wait_s: seconds that the next attempt should wait for.
    """

    def __init__(self, message: str, *, wait_s: float = 30.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class ApiUnavailable(Retryable):
    """The API can't be reached, or keeps failing."""


class TokenThrottled(ApiUnavailable):
    """The token endpoint refuses a request as one too many."""


class RateLimited(Retryable):
    """The API wants a pause that is longer than a run should wait."""


class LakeUnavailable(Retryable):
    """S3 can't be reached, or keeps failing."""


class LostRace(Retryable):
    """Another run took this partition over, and has not committed it yet."""


class ReadAnew(Retryable):
    """Sound by itself, but it does not fit what another attempt or run has read.

    The next attempt reads what is needed to make it fit.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, wait_s=1.0)
