"""What an API may send out of malice or by accident, through the whole engine."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import Source, load_source
from pipeline.errors import ConfigError, ContractBroken, HeadraceError
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from tests.faults.support import DAY, QUICK, Bench, Ran, check_clean
from tests.support.runs import serving
from tests.support.thorough import THOROUGH

pytestmark = pytest.mark.slow

SECRET = "key-that-must-stay-here"


@dataclass
class Odd:
    """A server that answers what it is told, and remembers what it was asked."""

    body: bytes = b"[]"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        async def answer(request: Request) -> Response:
            self.asked.append(str(request.url))
            return Response(
                self.body, self.status, {"content-type": "application/json", **self.headers}
            )

        return Starlette(routes=[Route("/{path:path}", answer)])


@pytest.fixture
def odd() -> Iterator[tuple[Odd, str]]:
    one = Odd()
    with serving(one.app()) as url:
        yield one, url


@pytest.fixture
def elsewhere() -> Iterator[tuple[Odd, str]]:
    """Another host, which must never be asked."""
    one = Odd()
    with serving(one.app()) as url:
        yield one, url


def spec(**endpoint: Any) -> dict[str, Any]:
    columns = {"id": "string", **endpoint.pop("columns", {})}
    return {
        "source": "odd",
        "base_url": "${ODD}",
        "start": DAY,
        "auth": {"kind": "bearer", "token": SECRET},
        "endpoints": {"items": {"key": ["id"], "columns": columns, **endpoint}},
    }


def loaded(folder: Path, text: str, url: str = "http://127.0.0.1:1") -> Source:
    (folder / "odd.yaml").write_text(text)
    source = load_source(folder / "odd.yaml", {"ODD": url})
    return source.model_copy(update={"retries": QUICK.model_copy(update={"errors": 1})})


def tried(odd: tuple[Odd, str], lake: Lake, folder: Path, **endpoint: Any) -> Ran:
    source = loaded(folder, yaml.safe_dump(spec(**endpoint)), odd[1])
    return Bench(source, lake).run(days=[DAY])


def refused(ran: Ran, lake: Lake, kind: type[HeadraceError]) -> str:
    """The sentence; nothing was committed, and it holds no secret."""
    error = ran.error
    assert isinstance(error, kind), repr(error)
    assert SECRET not in str(error)
    assert list(lake.list("odd/items/_manifests/")) == []
    assert len(str(error)) < 1_000
    return str(error)


def rows_of(lake: Lake) -> list[dict[str, Any]]:
    table = dataset(lake, "odd", "items").to_table()
    return list(table.drop_columns(["_extracted_at"]).to_pylist())


def test_a_page_larger_than_the_limit(odd: tuple[Odd, str], lake: Lake, tmp_path: Path) -> None:
    odd[0].body = b"[" + b" " * (65 * 2**20) + b"]"
    said = refused(tried(odd, lake, tmp_path), lake, ContractBroken)
    assert "larger than 67,108,864 bytes. Set fewer rows a page" in said


@pytest.mark.parametrize("layers", [1, 2])
def test_a_decompression_bomb(
    odd: tuple[Odd, str], lake: Lake, tmp_path: Path, layers: int
) -> None:
    """One layer is undone bit by bit, up to the limit; two are not undone at all."""
    body = b"[" + b" " * (200 * 2**20) + b"]"
    for _ in range(layers):
        body = gzip.compress(body, 1 if len(body) > 10**7 else 9)
    odd[0].body, odd[0].headers = body, {"content-encoding": ", ".join(["gzip"] * layers)}
    said = refused(tried(odd, lake, tmp_path), lake, ContractBroken)
    assert ["larger than 67,108,864 bytes", "compressed more than once"][layers - 1] in said


def test_what_says_that_it_is_gzip_and_is_not(
    odd: tuple[Odd, str], lake: Lake, tmp_path: Path
) -> None:
    odd[0].body, odd[0].headers = b"[]", {"content-encoding": "gzip"}
    said = refused(tried(odd, lake, tmp_path), lake, ContractBroken)
    assert "`Content-Encoding` is 'gzip', and the body is not compressed so" in said


def test_deep_nesting(odd: tuple[Odd, str], lake: Lake, tmp_path: Path) -> None:
    odd[0].body = b'[{"id": "1", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]"
    said = refused(tried(odd, lake, tmp_path), lake, HeadraceError)
    assert "the body is nested over 1,000 levels deep" in said


@pytest.mark.timeout(60)
@pytest.mark.parametrize("status", [200, 400])
def test_a_long_row_of_backslashes_is_looked_through_once(
    status: int, odd: tuple[Odd, str], lake: Lake, tmp_path: Path
) -> None:
    """Before it is quoted, secrets are looked for: quadratic work would hold the step for hours."""
    odd[0].body, odd[0].status = b"no JSON: " + b"\\" * 200_000, status
    said = refused(tried(odd, lake, tmp_path), lake, HeadraceError)
    assert "no JSON" in said


@pytest.mark.parametrize("where", ["body", "header"])
@pytest.mark.parametrize("target", ["http://{other}/items", "https://{own}/items", "//{other}/x"])
def test_a_next_link_to_elsewhere(
    odd: tuple[Odd, str],
    elsewhere: tuple[Odd, str],
    lake: Lake,
    tmp_path: Path,
    where: str,
    target: str,
) -> None:
    """The credentials stay where they are."""
    names = {"own": odd[1].removeprefix("http://"), "other": elsewhere[1].removeprefix("http://")}
    link = target.format(**names)
    odd[0].body = json.dumps({"items": [{"id": "1"}], "next": link}).encode()
    odd[0].headers = {"link": f'<{link}>; rel="next"'} if where == "header" else {}
    paging: dict[str, Any] = {"kind": "link", "limit": 10}
    if where == "body":
        paging["next"] = "next"
    said = refused(tried(odd, lake, tmp_path, rows="items", paging=paging), lake, ContractBroken)
    assert "not followed, since the credentials would go there" in said
    assert "Check: 1. `base_url`" in said
    assert elsewhere[0].asked == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect(
    odd: tuple[Odd, str],
    elsewhere: tuple[Odd, str],
    lake: Lake,
    tmp_path: Path,
    status: int,
) -> None:
    odd[0].status, odd[0].headers = status, {"location": f"{elsewhere[1]}/items"}
    said = refused(tried(odd, lake, tmp_path), lake, ContractBroken)
    assert f"redirects ({status})" in said
    assert elsewhere[0].asked == []


def test_values_that_would_be_odd_names_are_only_values(
    odd: tuple[Odd, str], lake: Lake, tmp_path: Path
) -> None:
    """Nothing that comes from the API becomes a part of an S3 key."""
    ids = sorted(["../../x", "a/b", "..", "\x00\x07", "dt=2026-01-01", "é\u2028", " ", "%2e%2e"])
    odd[0].body = json.dumps([{"id": each} for each in ids]).encode()
    manifest = tried(odd, lake, tmp_path).manifest
    assert sorted(row["id"] for row in rows_of(lake)) == ids
    assert [path.split("/")[:3] for path in manifest.paths] == [["odd", "items", f"dt={DAY}"]]
    check_clean(lake, "odd")


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "", ".x", "é\n", "x" * 300, "a\x00"])
@pytest.mark.parametrize("what", ["source", "endpoint"])
def test_names_that_could_leave_their_folder(tmp_path: Path, name: str, what: str) -> None:
    given = spec()
    if what == "source":
        given["source"] = name
    else:
        given["endpoints"] = {name: given["endpoints"]["items"]}
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        loaded(tmp_path, yaml.safe_dump(given))


@pytest.mark.parametrize("declared", [True, False])
def test_numbers_beyond_64_bits(
    odd: tuple[Odd, str], lake: Lake, tmp_path: Path, declared: bool
) -> None:
    """No column holds them exactly but text: so it is said, and nothing is rounded in silence."""
    odd[0].body = b'[{"id": "1", "n": 123456789012345678901234567890}]'
    ran = tried(odd, lake, tmp_path, columns={"n": "int64"} if declared else {})
    said = refused(ran, lake, ContractBroken)
    assert "123456789012345678901234567890" in said
    assert "string" in said


def test_text_that_is_no_unicode(odd: tuple[Odd, str], lake: Lake, tmp_path: Path) -> None:
    odd[0].body = b'[{"id": "1", "t": "a\\ud800b"}, {"id": "2", "t": "a\xffb"}]'
    manifest = tried(odd, lake, tmp_path).manifest
    assert manifest.rows == 2
    assert "characters that are no UTF-8 came (1)" in manifest.notes.warning
    assert [row["t"] for row in rows_of(lake)] == ["a\ufffdb", "a\ufffdb"]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_json(
    odd: tuple[Odd, str], lake: Lake, tmp_path: Path, text: str
) -> None:
    odd[0].body = b'[{"id": "1", "n": %s}]' % text.encode()
    """Python's own JSON writes such; a double holds them."""
    assert tried(odd, lake, tmp_path).manifest.rows == 1
    assert [str(row["n"]) for row in rows_of(lake)] == [str(float(text))]


def test_ten_thousand_new_columns(odd: tuple[Odd, str], lake: Lake, tmp_path: Path) -> None:
    odd[0].body = json.dumps([{"id": "1", **{f"c{i}": i for i in range(10_000)}}]).encode()
    said = refused(tried(odd, lake, tmp_path), lake, ContractBroken)
    assert "10,000 inferred columns, expected at most 2,000" in said
    assert "infer: false" in said


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=40 * THOROUGH, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=300) | st.binary(max_size=200))
def test_any_text_is_a_source_or_one_sentence(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        load_source(path, {})


@settings(max_examples=60 * THOROUGH, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_source_with_anything_anywhere_is_a_source_or_one_sentence(
    tmp_path: Path, data: st.DataObject
) -> None:
    """A value somewhere in a good source is replaced by another, or a member is added."""
    given_spec = spec(paging={"kind": "offset", "limit": 5}, cursor=None, deleted="gone")
    given_spec["endpoints"]["items"]["request"] = {"params": {"o": "{offset}"}}
    at: Any = given_spec
    for _ in range(data.draw(st.integers(0, 4))):
        inside = [value for value in at.values() if isinstance(value, dict) and value]
        if not inside:
            break
        at = data.draw(st.sampled_from(inside))
    at[data.draw(st.sampled_from(sorted(at)) | st.text(max_size=8))] = data.draw(_values)
    path = tmp_path / "odd.yaml"
    path.write_text(yaml.safe_dump(given_spec, allow_unicode=False), encoding="utf-8")
    said = None
    try:
        load_source(path, {"ODD": "http://127.0.0.1:1"})
    except ConfigError as error:
        said = str(error)
    assert said is None or ("odd.yaml" in said and SECRET not in said)
