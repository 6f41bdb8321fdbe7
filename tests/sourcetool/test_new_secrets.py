"""`new`: no key, password or token of a request reaches the file or the screen."""

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from local.paths import ROOT
from pipeline.config import Source, load_source
from sourcetool import fetch
from sourcetool.new import new
from sourcetool.new_request import RequestOptions
from tests.support.responses import json_answer
from tests.support.runs import serving

CANARY = "CANARY7f3a9b21c4d8"
ROWS = [{"id": n, "name": f"n{n}"} for n in range(1, 31)]


class Api:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def items(self, request: Request) -> Response:
        body = await request.body()
        self.seen.append((request.method, str(request.url.query), dict(request.headers), body))
        return json_answer({"total": len(ROWS), "items": ROWS[:10]})

    async def echo(self, request: Request) -> Response:
        said = f"no: {request.url} {dict(request.headers)} \x1b[2J {await request.body()!r}"
        return PlainTextResponse(said, 400)

    async def wrong(self, request: Request) -> Response:
        key = request.query_params["token"]
        return json_answer({"Status": "ERROR", "Message": f"bad key {key}"})

    async def endless(self, request: Request) -> Response:
        return Response(b"[" + b" " * 300_000 + b"]")

    async def named(self, request: Request) -> Response:
        return json_answer([{"id": 1, CANARY: 2}, {"id": 2, CANARY: 3}])


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    both = ["GET", "POST"]
    routes = [
        Route("/v1/items", api.items, methods=both),
        Route("/v1/{token}/items", api.items, methods=both),
        Route("/echo", api.echo, methods=both),
        Route("/endless", api.endless),
        Route("/wrong", api.wrong),
        Route("/named", api.named),
    ]
    with serving(Starlette(routes=routes)) as found:
        yield found


def run(tmp_path: Path, given: RequestOptions) -> tuple[int, str, Path]:
    console = Console(file=io.StringIO(), width=300, soft_wrap=True)
    code = new(given.url, "shop", str(tmp_path), console, given)
    assert isinstance(console.file, io.StringIO)
    file, said = tmp_path / "shop.yaml", console.file.getvalue()
    assert CANARY not in said
    assert [*tmp_path.iterdir()] == ([file] if code == 0 else [])
    if code == 0:
        assert CANARY not in file.read_text()
    return code, said, file


@pytest.mark.parametrize(
    "name",
    ["api_key", "apikey", "access_token", "token", "key", "sig", "appid", "wskey", "userPassword",
     "subscription-key", "client_secret", "X-Auth", "auth", "code"],
)  # fmt: skip
def test_a_key_in_the_query_becomes_auth(api: Api, url: str, tmp_path: Path, name: str) -> None:
    code, said, file = run(tmp_path, RequestOptions(f"{url}/v1/items?{name}={CANARY}&limit=10"))
    assert code == 0, said
    assert "set SHOP_KEY" in said
    source = load_source(file, {"SHOP_KEY": CANARY})
    auth = source.auth.model_dump()
    assert (auth["kind"], auth["place"], auth["name"]) == ("api_key", "query", name)
    assert CANARY in api.seen[0][1], "it is sent all the same"


def test_what_looks_like_a_key_becomes_a_setting_whatever_its_name(
    url: str, tmp_path: Path
) -> None:
    long = f"{CANARY}e5f60718293a"
    code, said, file = run(tmp_path, RequestOptions(f"{url}/v1/{long}/items?q={long}&limit=10"))
    assert code == 0, said
    assert long not in file.read_text()
    env = dict.fromkeys(("SHOP_Q", "SHOP_PATH_KEY"), long)
    source = load_source(file, env)
    assert f"/v1/{long}" in source.base_url


def test_user_and_password_in_the_url_become_basic(api: Api, url: str, tmp_path: Path) -> None:
    at = url.replace("http://", f"http://bob:{CANARY}%21@")
    code, said, file = run(tmp_path, RequestOptions(f"{at}/v1/items?limit=10"))
    assert code == 0, said
    source = load_source(file, {"SHOP_USERNAME": "bob", "SHOP_PASSWORD": f"{CANARY}!"})
    assert (source.auth.kind, source.base_url) == ("basic", f"{url}/v1")
    assert api.seen[0][2]["authorization"].startswith("Basic ")


def test_basic_and_headers_are_given_by_their_settings(
    api: Api, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_USER", "bob")
    monkeypatch.setenv("SHOP_PASS", CANARY)
    monkeypatch.setenv("SHOP_TENANT", "acme")
    given = RequestOptions(
        f"{url}/v1/items?limit=10",
        basic="SHOP_USER:SHOP_PASS",
        headers=("X-Tenant: ${SHOP_TENANT}", "X-Requested-With: x", f"X-Session: {CANARY}"),
    )
    code, said, file = run(tmp_path, given)
    assert code == 0, said
    source: Source = load_source(file, {**os.environ, "SHOP_X_SESSION": CANARY})
    assert source.auth.kind == "basic"
    headers = source.endpoints["items"].request.model_dump()["headers"]
    assert headers == {"X-Tenant": "acme", "X-Requested-With": "x", "X-Session": CANARY}
    assert api.seen[0][2]["x-tenant"] == "acme"


def test_a_post_with_a_body(api: Api, url: str, tmp_path: Path) -> None:
    body = (
        f'{{"filter": {{"kind": "a"}}, "page": {{"limit": 10, "offset": 0}}, "apiKey": "{CANARY}"}}'
    )
    code, said, file = run(tmp_path, RequestOptions(f"{url}/v1/items", json=body))
    assert code == 0, said
    assert api.seen[0][0] == "POST"
    endpoint = load_source(file, {"SHOP_API_KEY": "k"}).endpoints["items"]
    request = endpoint.request.model_dump(by_alias=True)
    assert request["method"] == "POST"
    assert request["json"] == {
        "filter": {"kind": "a"},
        "page": {"limit": "{limit}", "offset": "{offset}"},
        "apiKey": "k",
    }
    assert endpoint.paging.kind == "offset"


def test_a_post_of_a_form(api: Api, url: str, tmp_path: Path) -> None:
    code, said, file = run(
        tmp_path, RequestOptions(f"{url}/v1/items", form=f"limit=10&page=1&pwd={CANARY}")
    )
    assert code == 0, said
    request = load_source(file, {"SHOP_PWD": "p"}).endpoints["items"].request.model_dump()
    assert request["form"] == {"limit": "{limit}", "page": "{page}", "pwd": "p"}


@pytest.mark.parametrize(
    "given",
    [
        RequestOptions("{url}/echo?api_key=" + CANARY),
        RequestOptions("{url}/echo?q=1", headers=(f"X-Api-Key: {CANARY}",)),
        RequestOptions("{url}/echo", json=f'{{"password": "{CANARY}"}}'),
        RequestOptions("ftp://bob:" + CANARY + "@host/x"),
        RequestOptions("api.example.org/items?api_key=" + CANARY),
        RequestOptions("http://127.0.0.1:9/x?token=" + CANARY),
        RequestOptions("http://[bad/x?token=" + CANARY),
        RequestOptions("http://a b/x?token=" + CANARY),
        RequestOptions("http://host:99999/x?token=" + CANARY),
        RequestOptions("{url}/named?api_key=" + CANARY),
        RequestOptions("{url}/endless?api_key=" + CANARY),
        RequestOptions("{url}/v1/items?limit=10", basic=f"bob:{CANARY}:x"),
        RequestOptions("{url}/v1/items?limit=10", headers=(CANARY,)),
    ],
    ids=lambda given: given.url[:24],
)
def test_a_refused_proposal_leaves_no_file_and_says_no_secret(
    url: str, tmp_path: Path, given: RequestOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MOST_BYTES", 200_000)
    filled = RequestOptions(**{**vars(given), "url": given.url.replace("{url}", url)})
    code, said, _ = run(tmp_path, filled)
    assert code == 2
    assert "\x1b" not in said


@pytest.mark.slow
@pytest.mark.parametrize("place", ["argument", "environment"])
def test_a_dollar_in_the_url_survives_make(api: Api, url: str, tmp_path: Path, place: str) -> None:
    query = "$count=true&$top=10&$skip=0&$orderby=id&name=it's"
    target = f"{url}/v1/items?{query}"
    more = [f"URL={target}"] if place == "argument" else []
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "-o", ".venv/headrace.stamp", "new-source",
         f"ARGS=--name shop --folder '{tmp_path}/made'", *more],
        cwd=ROOT, env=os.environ | ({} if more else {"URL": target}), capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "made" / "shop.yaml").read_text()
    for name in ("$count", "$top", "$skip", "$orderby"):
        assert f"{name}: " in text
    assert api.seen[0][1].startswith("$count=true&$top=10")


def test_a_user_without_a_password_needs_no_setting_for_it(
    api: Api, url: str, tmp_path: Path
) -> None:
    """Stripe: the name is the key."""
    at = url.replace("http://", f"http://{CANARY}:@")
    code, said, file = run(tmp_path, RequestOptions(f"{at}/v1/items?limit=10"))
    assert code == 0, said
    assert "set SHOP_USERNAME (what was in the request)" in said
    source = load_source(file, {"SHOP_USERNAME": CANARY})
    assert source.auth.kind == "basic"


def test_an_error_in_a_200_is_said_without_the_key_that_it_repeats(
    url: str, tmp_path: Path
) -> None:
    code, said, _ = run(tmp_path, RequestOptions(f"{url}/wrong?token={CANARY}"))
    assert code == 2
    assert "responded 200, and says of an error at `Message`: bad key" in said
    assert "--header 'Authorization: ${MY_KEY}'" in said
