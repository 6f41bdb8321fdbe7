"""Errors that come as a page, with a status that means success.

A member of the body says so: the one at ``errors_at``; the one at ``ok_when``, if its value is none
of those that mean success; or, beside no rows, one by which the decoder knows errors.
"""

from typing import NoReturn

from pipeline.config.endpoint import Endpoint
from pipeline.config.limits import ResponsesConfig
from pipeline.decode.base import DecodedPage, Decoder
from pipeline.decode.body_checks import BadBody, SignedOutInBody, ThrottledInBody, UnexpectedPage
from pipeline.decode.exact_json import shorten
from pipeline.errors import ContractBroken, PageTokenDead
from pipeline.extract.capped_page import leaves
from pipeline.http.classify import asks_to_wait, is_dead_page_token, is_dead_token
from pipeline.messages import HttpResponse


def refuse_error(
    endpoint: Endpoint,
    answers: ResponsesConfig,
    decoder: Decoder,
    page: DecodedPage,
    response: HttpResponse,
) -> None:
    """Refuse a page that is an error.

    :raises ThrottledInBody: the error means too many requests.
    :raises SignedOutInBody: the session has ended. :raises PageTokenDead: the page token has.
    :raises UnexpectedPage: no rows came yet. :raises ContractBroken: any other error.
    """
    ok_when, messages, status = endpoint.ok_when, endpoint.errors_at is None, response.status
    if error := page.extras.get("error"):
        sentence = f"The API sent an error in a {status}: {shorten(error, 200)}"
        _raise_error(sentence, answers, response)
    if ok_when is not None:
        value = page.extras.get("ok")
        if ok_when.is_met(value):
            return
        success = ", ".join(shorten(each, 40) for each in ok_when.values)
        sentence = (
            f"The API sent an error in a {status}: `{ok_when.at}` is {shorten(value, 200)}, "
            f"expected {success} (`ok_when`)"
        )
        if beside := decoder.reason_for_no_rows(response.body, messages=messages):
            sentence += f"; `{beside.name}` is {shorten(beside.value, 200)}"
        _raise_error(sentence, answers, response)
    if page.table.num_rows:
        return
    if status == 202:
        raise UnexpectedPage(
            "the API responded with 202 (accepted) and no rows, which may not be ready yet: "
            "`answers: {empty: [202]}`, if it means none"
        )
    beside = decoder.reason_for_no_rows(response.body, messages=messages)
    if beside is None or _is_of_request(endpoint, beside.value):
        return
    name, value = beside.name, shorten(beside.value, 200)
    if beside.later:
        raise UnexpectedPage(
            f"the API sent no rows in a {status}, and they seem not to be ready: `{name}` is "
            f"{value}. If it means that there are none: "
            f"`ok_when: {{at: {name}, values: [{value}]}}`"
        )
    raise ContractBroken(
        f"The API sent no rows in a {status}, and says of an error: `{name}` is {value}. Expected "
        f"rows, or no rows and no error. Check: 1. the request; 2. if `{name}` is no error: "
        "`ok_when`, which names a member and its values that mean success, as in "
        f"{{at: {name}, values: [{value}]}}, or `errors_at`, which names a member that only errors "
        "have"
    )


def refuse_throttle(
    decoder: Decoder, error: ContractBroken | BadBody, response: HttpResponse
) -> None:
    """Refuse a body that could not be used as too many requests, if its code says so.

    :param error: why it could not be used.
    :raises ThrottledInBody: the API asks for a pause.
    """
    if isinstance(error, PageTokenDead | SignedOutInBody | ThrottledInBody):
        return
    if code := decoder.too_many_requests(response.body):
        value = shorten(code.value, 100)
        raise ThrottledInBody(
            f"the API sent an error in a {response.status}: `{code.name}` is {value}"
        ) from None


def _is_of_request(endpoint: Endpoint, value: object) -> bool:
    """Whether the API repeats a value of the request, as a filter's (``status: failed``)."""
    return isinstance(value, str) and value in leaves(endpoint.request_values)


def _raise_error(sentence: str, answers: ResponsesConfig, response: HttpResponse) -> NoReturn:
    if is_dead_token(answers, response.body):
        raise SignedOutInBody(sentence)
    if is_dead_page_token(answers, response.body):
        raise PageTokenDead(sentence, response.status)
    waits = asks_to_wait(response.headers, answers, response.body)
    raise ThrottledInBody(sentence) if waits else ContractBroken(sentence)
