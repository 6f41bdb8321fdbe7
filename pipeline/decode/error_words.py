"""Errors beside no rows: words such as ``{"status": "error", "data": []}`` in a response of 200.

The rows of such a response are empty or null. Taken for an empty page, it would make an empty
partition of an outage. Only what stands around the rows is looked at, and only where there are no
rows: a column of theirs may have any name.

=======  =======================================================  =================================
tells    found                                                    e.g.
=======  =======================================================  =================================
surely   an error that is not empty, a ``success`` that is        ``errors: [{…}]``, ``ok: false``,
         false, a ``status`` or ``code`` that means failure       ``status: error``, ``code: 500``
maybe    a message that is no word for success or for no rows     ``message: upstream timeout``
         and, beside a ``code`` that means success, complains     ``code: 0, msg: too many visits``
maybe    a note that complains                                    ``Note: 5 calls per minute``
later    a ``status`` that means that the rows are not ready      ``state: processing``
=======  =======================================================  =================================

Where the YAML says what means success (``ok_when``), that alone decides. Where it names the member
that only an error has (``errors_at``), messages are not looked at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

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
    | {"responsestatus", "resultcode", "returncode", "retcode", "respcode", "ret", "rc", "type"}
)
_MESSAGE: Final = re.compile(
    r"details?|reason|((ret|result|return|resp|response|status|api)?(message|msg)|statusdescription)"
)
_NOTE: Final = frozenset({"note", "notes", "notice", "information", "info", "warning", "warnings"})
"""Members in which APIs write asides, and some of them that a quota is used up."""
_AROUND: Final = frozenset(
    {"meta", "metadata", "header", "headers", "head", "status", "result", "response"}
    | {"responsestatus", "responseheader", "info", "envelope", "error", "shards"}
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
    r"true|valid|200( ok)?|.*\bsuccess(ful|fully)?\b.*|normal([ _]?(service|code))?|"
    r"no[ _-]?data([ _-]?(error|found))?|[^a-z]*(成功|正常|정상|暂无数据|无数据|没有数据)[^a-z]*|"
    r".*\b(no|0|zero|not any|without)\b.{0,40}\b(result|record|row|item|data|match|entr|content|"
    r"change|update|more|document|object|event|hit)\w*\b.*|"
    r".*\b(nothing|not|none)\b.{0,20}\bfound\b.*|.*\bempty (result|list|set|page)\b.*)\W*",
    re.IGNORECASE | re.DOTALL,
)
_COMPLAINT: Final = re.compile(
    r"error|fail|invalid|denied|unauthori[sz]ed|forbidden|too (many|frequent)|rate[ _-]?limit|"
    r"quota|call (frequency|limit|volume)|(calls|requests) (per|a|each) |"
    r"limit (is|of|reached|exceeded)|"
    r"exceed|throttl|time[d ]*out|unavailable|expired|try again|retry|upgrade|subscri(be|ption)|"
    r"not (allowed|permitted|authori[sz]ed|registered|available)|api[ _-]?key|busy|maintenance|"
    r"overload|slow down|失败|错误|异常|超时|频繁|限流|过期",
    re.IGNORECASE,
)
_SUCCESS_CODE: Final = re.compile(r"0+|200|20000|ok|success|true", re.IGNORECASE)
_NOT_READY: Final = re.compile(
    r"pending|processing|in[ _-]?process|in[ _-]?progress|running|queued|queueing|waiting|accepted|"
    r"submitted|preparing|generating|building|calculating|not[ _-]?ready",
    re.IGNORECASE,
)
_LONGEST: Final = 500
"""Characters of a text that are looked at."""


class NoRowsReason(NamedTuple):
    """A member that says why there are no rows. :ivar later: they are still being made."""

    name: str
    value: object
    later: bool = False


def reason_for_no_rows(
    body: object, rows: Sequence[str], *, messages: bool = True
) -> NoRowsReason | None:
    """The member of a body without rows that says that there is an error, or that the rows are not
    ready; None if there is none.

    >>> reason_for_no_rows({"status": "error", "message": "upstream timeout"}, ["data"])
    NoRowsReason(name='message', value='upstream timeout', later=False)
    >>> reason_for_no_rows({"status": "ok", "message": "no records found", "data": []}, ["data"])
    >>> reason_for_no_rows({"state": "processing", "data": []}, ["data"])
    NoRowsReason(name='state', value='processing', later=True)

    :param rows: the path to the rows.
    :param messages: a message alone counts as an error, too.
    """
    levels = list(_levels(body, rows))
    sure = next((member for level in levels if (member := _sure(level))), None)
    message = next((member for level in levels if (member := _message(level))), None)
    if sure is not None:
        is_status = _plain(sure.name.rpartition(".")[2]) in _STATUS
        says_more = isinstance(sure.value, str | list | Mapping) and not is_status
        return sure if says_more or message is None else message
    if messages and message is not None:
        return message
    return next((member for level in levels if (member := _not_ready(level))), None)


def means_error(members: Mapping[str, object]) -> bool:
    """Whether an object says surely that there is an error."""
    return _sure(("", members, frozenset())) is not None


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


def _sure(level: _Level) -> NoRowsReason | None:
    prefix, members, passed = level
    for name, value in members.items():
        plain = _plain(name)
        if name in passed:
            continue
        if plain in _ERROR and not is_no_error(value):
            return NoRowsReason(f"{prefix}{name}", value)
        if plain in _SUCCESS and (value is False or _text(value).lower() in ("false", "no", "0")):
            return NoRowsReason(f"{prefix}{name}", value)
        if plain in _STATUS and _means_failure(value):
            return NoRowsReason(f"{prefix}{name}", value)
    return None


def _not_ready(level: _Level) -> NoRowsReason | None:
    prefix, members, passed = level
    for name, value in members.items():
        of_status = name not in passed and _plain(name) in _STATUS and isinstance(value, str)
        if of_status and _NOT_READY.fullmatch(_text(value)[:_LONGEST]):
            return NoRowsReason(f"{prefix}{name}", value, later=True)
    return None


def _message(level: _Level) -> NoRowsReason | None:
    prefix, members, passed = level
    succeeded = any(
        _plain(name) in (_STATUS | _SUCCESS) - {"type"} and _means_success(value)
        for name, value in members.items()
        if name not in passed
    )
    for name, value in members.items():
        plain = _plain(name)
        is_note = plain in _NOTE
        if name in passed or not (is_note or _MESSAGE.fullmatch(plain)):
            continue
        if not isinstance(value, str):
            continue
        text = value.strip()[:_LONGEST]
        if not text or _FINE.fullmatch(text):
            continue
        if _COMPLAINT.search(text) or not (is_note or succeeded):
            return NoRowsReason(f"{prefix}{name}", value)
    return None


def is_remark(name: str) -> bool:
    """Whether a member of this name is what an API writes to a person: a message, or an aside."""
    plain = _plain(name)
    names = (plain, plain.removesuffix("s"))
    return any(n in _NOTE or _MESSAGE.fullmatch(n) is not None for n in names)


def is_no_error(value: object) -> bool:
    """Whether an error's member says that there is none: null, empty, 0, "OK", or all of it so."""
    if value is None or value is False or value == 0:
        return True
    if isinstance(value, str):
        return not value.strip() or value.strip() == "0" or bool(_FINE.fullmatch(value[:_LONGEST]))
    if isinstance(value, Mapping):
        return all(is_no_error(member) or member in (200, "200") for member in value.values())
    if isinstance(value, Sequence):
        return all(is_no_error(item) for item in value)
    return False


def _means_failure(value: object) -> bool:
    text = _text(value)
    if re.fullmatch(r"[45]\d\d", text):
        return True
    return isinstance(value, str) and bool(_FAILED.fullmatch(text[:_LONGEST]))


def _means_success(value: object) -> bool:
    return value is True or bool(_SUCCESS_CODE.fullmatch(_text(value)))


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def _plain(name: str) -> str:
    """``errorMessage``, ``error_message`` and ``Error-Message`` are one name."""
    return re.sub(r"[^a-z]", "", name.lower())
