"""Keys that are days or instants, in an API's own words: as its rows have them. Pure.

Rows are compared by what their text means; a request has the text again, which the declared
type of the column tells.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo

from pipeline.decode.types import parse_type
from pipeline.pagination.page import Key, PageRequest
from pipeline.timestamps import EPOCH, UNITS, as_iso

_MICROSECOND = timedelta(microseconds=1)


def written(request: PageRequest, kind: str, zone: tzinfo = UTC) -> PageRequest:
    """The page to request, with its keys as the request has them.

    :param kind: the declared type of the key. :param zone: of times without an offset.
    """
    if not (isinstance(request.after, date) or isinstance(request.before, date)):
        return request
    after, before = (in_words(key, kind, zone) for key in (request.after, request.before))
    return replace(request, after=after, before=before)


def in_words(key: Key, kind: str, zone: tzinfo = UTC) -> str | int | float | bool | None:
    """A value of a column of this type, as the API's rows have it."""
    if not isinstance(key, date):
        return key
    if not isinstance(key, datetime):
        return key.isoformat()
    declared = parse_type(kind)
    if declared.json == "strptime":
        return key.astimezone(zone).strftime(declared.format)
    if declared.json in UNITS:
        micros, unit_us = (key - EPOCH) // _MICROSECOND, UNITS[declared.json]
        return micros / unit_us if micros % unit_us else micros // unit_us
    return as_iso(key)
