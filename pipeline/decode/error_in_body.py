"""Errors that an API tells in words beside no rows: ``{"status": "error", "data": []}``. Pure.

Such a response has status 200, and its rows are empty or null. Taken for an empty page, it would
make an empty partition of an outage. Only what stands around the rows is looked at, and only where
there are no rows: a column of theirs may have any name.

=======  =======================================================  =================================
tells    found                                                    e.g.
=======  =======================================================  =================================
surely   an error that is not empty, a ``success`` that is        ``errors: [{…}]``, ``ok: false``,
         false, a ``status`` or ``code`` that means failure       ``status: error``, ``code: 500``
maybe    a message that is no word for success or for no rows     ``message: upstream timeout``
=======  =======================================================  =================================

Where the YAML says what means success (``ok_when``), that alone decides. Where it names the member
that only an error has (``errors_at``), messages are not looked at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_ERROR: Final = frozenset(
    {"error", "errors", "errordescription", "errormessage", "errormsg", "errmsg", "errcode"}
    | {"errorcode", "exception", "fault", "failure", "errortype", "apierror", "err", "errs"}
    | {"errno", "haserror", "haserrors", "iserror", "failed", "isfailed", "failures", "exceptions"}
    | {"errordetail", "errordetails", "errorinfo", "faultstring", "faultcode", "problems"}
    | {"timedout", "incompleteresults", "partialresults", "partialfailure"}
)
_SUCCESS: Final = frozenset({"success", "succeeded", "issuccess", "successful", "ok", "isok"})
_STATUS: Final = frozenset(
    {"status", "state", "stat", "result", "code", "statuscode", "statustext", "responsecode"}
    | {"responsestatus", "resultcode", "returncode", "retcode", "type"}
)
_MESSAGE: Final = frozenset(
    {"message", "msg", "detail", "details", "reason", "statusmessage", "responsemessage"}
)
_AROUND: Final = frozenset(
    {"meta", "metadata", "header", "headers", "status", "result", "response", "responsestatus"}
    | {"responseheader", "info", "envelope", "error", "shards"}
)
"""Objects beside the rows that say how the request fared. Others may repeat its filter."""
_FAILED: Final = re.compile(
    r"error|err|fail|failed|failure|fault|exception|ko|nok|not[ _]?ok|denied|rejected|refused|"
    r"unauthori[sz]ed|forbidden|timeout|timed[ _]?out|unavailable|aborted|invalid|"
    r".*[ _-](error|failed|failure|denied|exceeded|timeout|unavailable)|(error|failed)[ _:-].*",
    re.IGNORECASE | re.DOTALL,
)
_FINE: Final = re.compile(
    r"\W*(?!.*\b(not|un)[ -]?success)(ok(ay)?|success(ful(ly)?)?|succeeded|done|complete[d]?|none|"
    r"null|n/?a|no error[s]?|"
    r"true|valid|200( ok)?|.*\bsuccess(ful|fully)?\b.*|"
    r".*\b(no|0|zero|not any|without)\b.{0,40}\b(result|record|row|item|data|match|entr|content|"
    r"change|update|more|document|object|event|hit)\w*\b.*|"
    r".*\b(nothing|not|none)\b.{0,20}\bfound\b.*|.*\bempty (result|list|set|page)\b.*)\W*",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST: Final = 500
"""Characters of a text that are looked at."""


def error_told(
    body: object, rows: Sequence[str], *, messages: bool = True
) -> tuple[str, object] | None:
    """The member of a body without rows that tells of an error, and its value; None if there is
    none.

    >>> error_told({"status": "error", "message": "upstream timeout", "data": None}, ["data"])
    ('message', 'upstream timeout')
    >>> error_told({"status": "ok", "message": "no records found", "data": []}, ["data"])

    :param rows: the path to the rows.
    :param messages: a message alone counts as an error, too.
    """
    levels = list(_levels(body, rows))
    sure = next((found for level in levels if (found := _sure(level))), None)
    message = next((found for level in levels if (found := _message(level))), None)
    if sure is None:
        return message if messages else None
    says_more = isinstance(sure[1], str | list | Mapping) and sure[0].rpartition(".")[2] != "status"
    return sure if says_more or message is None else message


_Level = tuple[str, Mapping[str, object], frozenset[str]]
"""An object around the rows: its path and a dot, itself, and the members to pass over."""


def _levels(body: object, rows: Sequence[str]) -> Iterator[_Level]:
    """The objects on the way to the rows, and those beside it that say how the request fared."""
    value, prefix = body, ""
    for part in rows:
        if not isinstance(value, Mapping):
            return
        yield prefix, value, frozenset({part})
        for name, beside in value.items():
            if name != part and isinstance(beside, Mapping) and _plain(name) in _AROUND:
                yield f"{prefix}{name}.", beside, frozenset()
        value, prefix = value.get(part), f"{prefix}{part}."


def _sure(level: _Level) -> tuple[str, object] | None:
    prefix, members, passed = level
    for name, value in members.items():
        plain = _plain(name)
        if name in passed:
            continue
        if plain in _ERROR and not _is_nothing(value):
            return f"{prefix}{name}", value
        if plain in _SUCCESS and (value is False or _text(value).lower() in ("false", "no", "0")):
            return f"{prefix}{name}", value
        if plain in _STATUS and _means_failure(value):
            return f"{prefix}{name}", value
    return None


def _message(level: _Level) -> tuple[str, object] | None:
    prefix, members, passed = level
    for name, value in members.items():
        if name in passed or _plain(name) not in _MESSAGE or not isinstance(value, str):
            continue
        if value.strip() and not _FINE.fullmatch(value[:_LONGEST]):
            return f"{prefix}{name}", value
    return None


def _is_nothing(value: object) -> bool:
    """Whether an error's member says that there is none: null, empty, 0, "OK", or all of it so."""
    if value is None or value is False or value == 0:
        return True
    if isinstance(value, str):
        return not value.strip() or value.strip() == "0" or bool(_FINE.fullmatch(value[:_LONGEST]))
    if isinstance(value, Mapping):
        return all(_is_nothing(member) or member in (200, "200") for member in value.values())
    if isinstance(value, Sequence):
        return all(_is_nothing(item) for item in value)
    return False


def _means_failure(value: object) -> bool:
    text = _text(value)
    if re.fullmatch(r"[45]\d\d", text):
        return True
    return isinstance(value, str) and bool(_FAILED.fullmatch(text[:_LONGEST]))


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def _plain(name: str) -> str:
    """``errorMessage``, ``error_message`` and ``Error-Message`` are one name."""
    return re.sub(r"[^a-z]", "", name.lower())
