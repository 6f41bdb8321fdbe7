"""Settings that requests carry: secret wherever they stand; and the names of headers."""

import asyncio
import logging
from typing import Any

import pytest

from assets.specs import api_spec
from pipeline.errors import ConfigError, HeadraceError
from pipeline.messages import HttpRequest, RequestCounts
from tests.support.wire import Seen, answer, client_of, read_json, serving, things
from tests.support.yaml_sources import quick, source_of

KEY = "k3y-of-the-shop"
PLACES = {
    "header": "headers: {Authorization: 'Basic ${KEY}'}",
    "params": "defaults: {request: {params: {k: '${KEY}'}}}",
    "json": "defaults: {request: {method: POST, json: {a: {b: ['${KEY}']}}}}",
    "form": "defaults: {request: {method: POST, form: {k: '${KEY}'}}}",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_setting_in_a_request_is_a_secret(place: str) -> None:
    def yaml(url: str) -> Any:
        return source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            {PLACES[place]}
            endpoints: {{things: {{key: [id]}}}}
            """,
            {"KEY": KEY},
        )

    async def run() -> str:
        said = {"message": f"no such key: {KEY}"}
        async with serving(lambda *_: answer(said, 400)) as wire:
            source = yaml(wire.url)
            assert KEY not in repr(source)
            async with client_of(source) as client:
                try:
                    await client.fetch(things(source), read_json, "api/things", RequestCounts())
                except HeadraceError as error:
                    return str(error)
        return ""

    said = asyncio.run(run())
    assert "status 400" in said
    assert KEY not in said


BOT = """
    source: bot
    base_url: {url}/bot${{BOT_TOKEN}}
    start: 2026-11-01
    endpoints:
      updates: {{key: [id], path: "getUpdates/${{SHOP_KEY}}"}}
    """
"""As Telegram's: the token is a part of each address."""


def test_a_token_in_an_address_is_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """In what an API says, in a library's log, and where the address is shown."""
    secrets = {"BOT_TOKEN": "110201543:AAHdqTcvCH1v", "SHOP_KEY": KEY}
    caplog.set_level(logging.DEBUG)

    async def run() -> tuple[Any, str]:
        def responding(number: int, seen: Seen) -> bytes:
            return answer({"message": f"no {seen.target}"}, 404)

        async with serving(responding) as wire:
            source = source_of(BOT.format(url=wire.url), secrets)
            url = f"{source.base_url}/{source.endpoints['updates'].path}"
            async with client_of(source) as client:
                logging.getLogger("httpx").setLevel(logging.DEBUG)
                try:
                    request = HttpRequest("GET", url)
                    await client.fetch(request, read_json, "bot/updates, page", RequestCounts())
                except HeadraceError as error:
                    return source, str(error)
        raise AssertionError("a 404 is an error")

    try:
        source, sentence = asyncio.run(run())
    finally:
        logging.getLogger("httpx").setLevel(logging.WARNING)
    assert "status 404" in sentence
    assert source.shown_url.endswith("/bot***")
    spec = api_spec(source)
    texts = (sentence, caplog.text, repr(source), str(spec.description), str(spec.metadata))
    assert not [text for text in texts for secret in secrets.values() if secret in text]


def test_a_setting_of_the_address_is_no_secret() -> None:
    source = source_of(
        """
        source: api
        base_url: https://${HOST}/v1
        start: 2026-11-01
        headers: {X-Origin: "${HOST}"}
        endpoints: {things: {key: [id]}}
        """,
        {"HOST": "api.shop.test"},
    )
    assert source.secrets == ()


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "Host", "content-length", "X\u00e9"])
@pytest.mark.parametrize("where", ["headers: {%s: a}", "auth: {kind: api_key, name: %s, key: a}"])
def test_a_name_that_no_header_has_is_refused(name: str, where: str) -> None:
    with pytest.raises(ConfigError, match="header"):
        source_of(
            f"""
            source: api
            base_url: https://api.test
            start: 2026-11-01
            {where % repr(name)}
            endpoints: {{things: {{key: [id]}}}}
            """
        )


def test_control_characters_of_an_api_never_reach_a_terminal() -> None:
    async def run() -> str:
        body = b"\x1b[2J\x1b]0;owned\x07 no\x00 such\tthing \xe2\x80\xae"
        async with serving(lambda *_: answer(raw=body, status=400)) as wire:
            source = quick(wire.url)
            async with client_of(source) as client:
                try:
                    await client.fetch(things(source), read_json, "api/things", RequestCounts())
                except HeadraceError as error:
                    return str(error)
        return ""

    said = asyncio.run(run())
    assert "such thing" in said
    assert said.isprintable()
