"""curl commands and HAR files: one request each becomes an endpoint, and no secret is written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import ConfigError
from sourcetool.importers.curl import parse_curl
from sourcetool.importers.documents import import_curl, import_document
from sourcetool.importers.samples import from_samples
from tests.support.runs import serving

SECRET = "v3ry-s3cret"
ROWS = [{"id": n, "name": f"n{n}", "updated": "2026-11-01T10:00:00Z"} for n in range(1, 9)]


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    async def things(request: Request) -> Response:
        sent = f"{request.headers} {request.url}"
        if SECRET not in sent and "Basic" not in sent:
            return JSONResponse({"message": "who?"}, 401)
        return JSONResponse({"total": 100, "items": ROWS})

    with serving(Starlette(routes=[Route("/v1/things", things, methods=["GET", "POST"])])) as url:
        yield url


def made(command: str) -> tuple[dict[str, Any], str]:
    _, text = import_curl(command, "shop")
    assert SECRET not in text
    return dict(yaml.safe_load(text)), text


def test_a_get_with_a_bearer_and_pages(api: str) -> None:
    found, _ = made(
        f"curl -s '{api}/v1/things?page=1&per_page=8' \\\n -H 'Authorization: Bearer {SECRET}' "
        "-H 'Accept: */*' -H 'X-Version: 2' --compressed -o out.json"
    )
    assert found["base_url"] == api
    assert found["auth"] == {"kind": "bearer", "token": "${SHOP_TOKEN}"}
    things = found["endpoints"]["things"]
    assert things["path"] == "v1/things"
    params = {"page": "{page}", "per_page": "{limit}"}
    assert things["request"] == {"params": params, "headers": {"X-Version": "2"}}
    assert things["paging"] == {"kind": "page", "limit": 8, "first": 1, "total": "total"}
    assert (things["rows"], things["key"]) == ("items", ["id"])
    assert things["columns"]["updated"] == "timestamp[iso]"


def test_a_post_of_json_whose_members_are_the_page(api: str) -> None:
    body = json.dumps({"page": 1, "filter": {"password": SECRET, "kind": "a"}})
    found, _ = made(f"curl {api}/v1/things --json '{body}' -H 'X-Api-Key: {SECRET}'")
    assert found["auth"] == {"kind": "api_key", "name": "X-Api-Key", "key": "${SHOP_KEY}"}
    request = found["endpoints"]["things"]["request"]
    assert request["method"] == "POST"
    assert request["json"] == {
        "page": "{page}",
        "filter": {"password": "${SHOP_PASSWORD}", "kind": "a"},
    }


def test_basic_credentials_a_form_and_a_key_in_the_url(api: str) -> None:
    found, _ = made(f"curl -u 'me:{SECRET}' -d 'kind=a&page=1' {api}/v1/things")
    assert found["auth"]["username"] == "${SHOP_USERNAME}"
    assert found["auth"]["password"] == "${SHOP_PASSWORD}"
    assert found["endpoints"]["things"]["request"]["form"] == {"kind": "a", "page": "{page}"}
    found, _ = made(f"curl '{api}/v1/things?api_key={SECRET}&x=1'")
    assert found["auth"]["place"] == "query"
    assert found["endpoints"]["things"]["request"] == {"params": {"x": "1", "page": "{page}"}}


def test_an_api_that_does_not_answer_leaves_a_doubt(api: str) -> None:
    found, text = made(f"curl {api}/v1/things -b 'sid={SECRET[:-1]}'")
    assert SECRET[:-1] not in text
    assert "# ? the API responded 401: rows, key, paging and types are not known" in text
    headers = found["endpoints"]["things"]["request"]["headers"]
    assert headers == {"Cookie": "${SHOP_COOKIE}"}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("wget x", "begins with curl, got 'wget'"),
        ("curl", "expected one URL in the curl command, found 0"),
        ("curl a b", "found 2"),
        ("curl 'x", "is a quote missing"),
        ("curl x -F f=@a", "sends a file or a multipart form"),
        ("curl x -d @a.json", "the body is the file a.json"),
        ("curl -X DELETE x", "expected a GET or a POST, got DELETE"),
        ("curl ftp://x/y", "starts with http"),
    ],
)
def test_what_is_no_such_command_is_one_sentence(command: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        parse_curl(command)
    assert "\n" not in str(error.value)


COPIES = [
    ("$ curl -sSL -H 'X-A: b' https://h/p", "https://h/p", {"X-A": "b"}, None),
    ("curl.exe -skXPOST https://h/p -d '{}'", "https://h/p", {}, {}),
    (
        "curl $'https://h/p?q=\\x41' \\\n  -H 'a: b' \\\n  "
        '--data-raw $\'{"a":"it\\\'s \\u00e9"}\'',
        "https://h/p?q=A",
        {"a": "b"},
        {"a": "it's é"},
    ),
    (
        'curl ^"https://h/p?a=1^&b=2^" ^\r\n  -H ^"a: b^" ^\r\n  --data-raw ^"^{^\\^"c^\\^":1^}^"',
        "https://h/p?a=1&b=2",
        {"a": "b"},
        {"c": 1},
    ),
]


@pytest.mark.parametrize(("command", "url", "headers", "body"), COPIES)
def test_commands_as_docs_and_browsers_copy_them(
    command: str, url: str, headers: dict[str, str], body: Any
) -> None:
    sample = parse_curl(command)
    assert (sample.url, sample.headers, sample.json) == (url, headers, body)
    assert sample.method == ("GET" if body is None else "POST")


@pytest.mark.parametrize("body", ['[{"token": "SECRET"}]', "q=1;SECRET", "<a>SECRET</a>"])
def test_a_body_that_is_no_object_has_no_secret(body: str) -> None:
    secret = "9f86d081884c7d659a2feaa0c55ad015"
    sample = parse_curl(f"curl http://127.0.0.1:1/x -H 'Content-Type: text/plain' -d '{body}'")
    sample.text = body.replace("SECRET", secret)
    sample.json = sample.form = None
    converted = from_samples([sample], "shop")
    assert secret not in str(converted.data)
    assert "${SHOP_" in converted.data["endpoints"]["x"]["request"]["text"]


def test_options_in_their_short_and_long_forms() -> None:
    sample = parse_curl("curl -XPOST -HAccept:x --data-urlencode 'a=b c' --url=https://h/p")
    assert (sample.method, sample.url, sample.headers) == ("POST", "https://h/p", {"Accept": "x"})
    assert sample.form == [("a", "b c")]
    sample = parse_curl("curl -G host/p?x=1 -d y=2 -d z=3")
    assert (sample.method, sample.url, sample.form) == ("GET", "https://host/p?x=1&y=2&z=3", None)


def test_a_har_file(tmp_path: Path) -> None:
    def entry(url: str, content: Any, method: str = "GET", post: str | None = None) -> Any:
        posted = {"postData": {"mimeType": "application/json", "text": post}} if post else {}
        headers = [{"name": "Authorization", "value": f"Bearer {SECRET}"}]
        return {
            "request": {"method": method, "url": url, "headers": headers, **posted},
            "response": {"status": 200, "headers": [], "content": {"text": json.dumps(content)}},
        }

    entries = [
        entry("https://app.example.com/page", {"ok": True}),
        entry("https://api.example.com/v1/things?page=1&size=8", {"total": 9, "items": ROWS}),
        entry("https://api.example.com/v1/find", {"items": ROWS}, "POST", '{"q": "x"}'),
        entry("https://other.example.com/v1/more", {"items": ROWS}),
    ]
    file = tmp_path / "shop.har"
    file.write_text(json.dumps({"log": {"entries": entries}}))
    _, text = import_document(file, None, ())
    assert SECRET not in text
    found = yaml.safe_load(text)
    assert found["base_url"] == "https://api.example.com"
    assert found["endpoints"]["things"]["paging"]["kind"] == "page"
    assert found["endpoints"]["find"]["request"] == {"method": "POST", "json": {"q": "x"}}
    assert "# more: request: the YAML can't say requests to another host" in text
    file.write_text(json.dumps({"log": {"entries": entries[:1]}}))
    with pytest.raises(ConfigError, match="no GET or POST whose response is JSON with a list"):
        import_document(file, None, ())
