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

A code that says *too many requests* (``429``, ``RESOURCE_EXHAUSTED``) means what a status of 429
means. The same in words to a person may be a quota of another kind: it is no code.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeGuard

import orjson

from pipeline.messages import Body

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
_TOO_MANY: Final = re.compile(
    r"(?!.*(no|not|un|non)(throttl|ratelimit))"
    r"\w*?(toomanyrequests|ratelimit(ed|exceeded|reached|hit|error)|throttl(ed|ing)|slowdown|"
    r"throttleviolation|resourceexhausted|over(query|rate|request)limit|"
    r"request(rate|limit|throttl)(limit)?(exceeded|reached|ed|toolarge))"
    r"(error|exception|fault|user|api)?"
)
"""A code of too many requests, plain: ``userRateLimitExceeded``, ``Throttling.User``."""
_CODES: Final = _STATUS | _ERROR | {"reason", "name", "errorname", "errorstatus"}
_CARRIERS: Final = _ERROR | _AROUND | {"extensions", "detail", "details", "data"}
"""Members inside of which the code of an error stands."""
_DEEPEST: Final = 4
_LONGEST_BODY: Final = 65_536
_MOST_ITEMS: Final = 5
_BESIDE: Final = frozenset(
    {"title", "path", "timestamp", "requestid", "traceid", "documentationurl", "moreinfo", "help"}
    | {"instance", "errorname", "errorid", "extensions", "locations", "name", "uri", "method"}
    | {"apiversion", "version", "correlationid", "domain"}
)
"""Members that an error has beside its words."""
_OF_ERRORS: Final = _ERROR | _SUCCESS | _STATUS | _NOTE | _AROUND | _BESIDE
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


def is_error_object(members: object) -> TypeGuard[Mapping[str, object]]:
    """Whether an object is an error and nothing else: all that it has are an error's words.

    >>> is_error_object({"error": "internal", "code": 500})
    True
    >>> is_error_object({"id": 7, "error": "internal", "code": 500})
    False
    """
    if not isinstance(members, Mapping) or not means_error(members):
        return False
    return all(is_word_of_error(name) for name, value in members.items() if value is not None)


def is_word_of_error(name: str) -> bool:
    """Whether a member of this name may be a part of an error."""
    plain = _plain(name)
    return plain in _OF_ERRORS or _MESSAGE.fullmatch(plain) is not None


def too_many_requests(body: object) -> NoRowsReason | None:
    """The code by which a body without rows says that too many requests came; None if it has none.

    >>> too_many_requests({"error": {"code": 429, "message": "slowly"}})
    NoRowsReason(name='error.code', value=429, later=False)
    >>> too_many_requests({"code": 0, "message": "rate limit exceeded"})
    """
    return _code_in(body, "", _DEEPEST)


def too_many_requests_in(body: Body) -> NoRowsReason | None:
    """As ``too_many_requests``, of a body that may be anything."""
    text = bytes(body[: _LONGEST_BODY + 1]).strip().removeprefix(b"\xef\xbb\xbf")
    if len(text) > _LONGEST_BODY or text[:1] not in (b"{", b"["):
        return None
    try:
        return too_many_requests(orjson.loads(text))
    except orjson.JSONDecodeError:
        return None


def _code_in(value: object, prefix: str, levels: int) -> NoRowsReason | None:
    if isinstance(value, Sequence) and not isinstance(value, str):
        for number, item in enumerate(value[:_MOST_ITEMS]):
            is_error = isinstance(item, Mapping) and all(map(is_word_of_error, item))
            if is_error and (code := _code_in(item, f"{prefix}{number}.", levels - 1)):
                return code
    if not isinstance(value, Mapping) or not levels:
        return None
    for name, member in value.items():
        if _plain(name) in _CODES and _is_too_many(member):
            return NoRowsReason(f"{prefix}{name}", member)
    for name, member in value.items():
        if _plain(name) in _CARRIERS and (code := _code_in(member, f"{prefix}{name}.", levels - 1)):
            return code
    return None


def _is_too_many(value: object) -> bool:
    text = _text(value)[:_LONGEST]
    if re.match(r"429\b", text):
        return True
    is_word = not re.search(r"\s", text)
    return is_word and bool(_TOO_MANY.fullmatch(_plain(text)))


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
    is_text = isinstance(value, str)
    return is_text and (_is_too_many(value) or bool(_FAILED.fullmatch(text[:_LONGEST])))


def _means_success(value: object) -> bool:
    return value is True or bool(_SUCCESS_CODE.fullmatch(_text(value)))


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def _plain(name: str) -> str:
    """``errorMessage``, ``error_message`` and ``Error-Message`` are one name."""
    return re.sub(r"[^a-z]", "", name.lower())
