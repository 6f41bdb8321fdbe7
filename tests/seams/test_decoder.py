"""A format that a file adds by registering it, end to end over HTTP and S3, and resumed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import ClassVar, Literal

import pyarrow as pa
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.decode import DECODERS, DecodedPage, Decoder, Format
from pipeline.decode.body_checks import BadBody
from pipeline.decode.shape import Shape
from pipeline.errors import ApiUnavailable, ConfigError, ContractBroken
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from pipeline.messages import Body
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 4, tzinfo=UTC)
DAY = "2026-11-04"
PAGE, ROWS, BATCH = 20, 390, 60


class SemicolonFormat(Format):
    kind: Literal["semicolons"] = "semicolons"
    accept: ClassVar[str] = "text/csv"
    separator: str = ";"

    def check(self, body: Body) -> None:
        if self.separator.encode() not in bytes(body[:4096]):
            raise BadBody("expected rows with semicolons, found none")

    def value_at(self, body: Body, path: tuple[str, ...]) -> object:
        return str(body, "utf-8").strip()

    def decoder(self, shape: Shape, known: pa.Schema | None = None, *, label: str) -> Decoder:
        return SemicolonDecoder(self, shape, known, label=label)


class SemicolonDecoder(Decoder):
    def read(self, body: Body) -> DecodedPage:
        try:
            self.check(body)
        except BadBody as error:
            raise self.bad(error) from None
        names, *lines = [line.split(";") for line in str(body, "utf-8").splitlines()]
        return self.page_of([dict(zip(names, line, strict=True)) for line in lines])


@pytest.fixture
def semicolons() -> Iterator[None]:
    DECODERS.register("semicolons")(SemicolonFormat)
    yield
    DECODERS.forget("semicolons")


class Api:
    """Rows by key, as lines of text.

    :ivar after: of each request, the key that its rows follow.
    :ivar fails_after: a request for rows behind this key is answered with 500.
    """

    def __init__(self) -> None:
        self.after: list[int] = []
        self.accepts: set[str] = set()
        self.fails_after = ROWS
        self.price = "12.5"
        self.page: str | None = None

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[Route("/things", self.things), Route("/count", lambda _: text_of(str(ROWS)))]
        )

    async def things(self, request: Request) -> Response:
        after = int(request.query_params.get("after", 0))
        self.after.append(after)
        self.accepts.add(request.headers["accept"])
        if after > self.fails_after:
            return PlainTextResponse("no", 500)
        if self.page is not None:
            return text_of(self.page)
        keys = range(after + 1, min(ROWS, after + PAGE) + 1)
        lines = [f"{key};{self.price};2026-11-0{key % 3 + 1};thing {key}" for key in keys]
        return text_of("\n".join(["id;price;day;name", *lines]))


def text_of(text: str) -> Response:
    return PlainTextResponse(text + "\n")


def source_at(url: str, format: str = "semicolons") -> Source:
    return source_of(
        f"""
        source: shop
        base_url: {url}
        start: 2026-11-01
        auth: {{kind: none}}
        retries: {{errors: 2, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          things:
            format: {format}
            request: {{params: {{after: "{{after}}", limit: "{{limit}}"}}}}
            paging: {{kind: keyset, limit: {PAGE}}}
            count: {{path: count, at: count}}
            key: [id]
            batch_rows: {BATCH}
            columns: {{id: int64, price: double, day: date}}
        """
    )


@pytest.mark.parametrize("format", ["semicolons", "{kind: semicolons, separator: ';'}"])
@pytest.mark.usefixtures("semicolons")
def test_a_registered_format_lands_and_resumes(lake: Lake, format: str) -> None:
    api = Api()
    api.fails_after = 200
    with serving(api.app) as url:
        source = source_at(url, format)
        first, _ = outcome_of(source, lake, "things", [DAY], NOW, run_id="one")
        assert isinstance(first.failed[0].error, ApiUnavailable)
        api.fails_after, api.after = ROWS, []
        second, _ = outcome_of(source, lake, "things", [DAY], NOW, run_id="one")
    manifest = second.results[0].manifest
    assert manifest.resumed_pages > 0
    assert min(api.after) >= BATCH, "staged rows are not requested again"
    assert manifest.rows == ROWS
    assert manifest.proof.contiguous
    assert api.accepts == {"text/csv"}
    rows = key_rows(lake, manifest.files, ["id", "price", "day", "name"]).to_pylist()
    days = [date(2026, 11, key % 3 + 1) for key in range(1, ROWS + 1)]
    assert sorted(rows, key=lambda row: row["id"]) == [
        {"id": key, "price": 12.5, "day": day, "name": f"thing {key}"}
        for key, day in enumerate(days, 1)
    ]


@pytest.mark.parametrize(
    ("page", "price", "error", "text"),
    [
        (None, "dear", ContractBroken, "column `price` is declared double, but row 0 .* number"),
        (
            "no rows",
            "",
            ApiUnavailable,
            "shop/things, page: expected rows with semicolons, found none",
        ),
    ],
)
@pytest.mark.usefixtures("semicolons")
def test_a_registered_format_refuses_with_the_same_sentences(
    lake: Lake, page: str | None, price: str, error: type[Exception], text: str
) -> None:
    api = Api()
    api.page, api.price = page, price
    with serving(api.app) as url:
        outcome, _ = outcome_of(source_at(url), lake, "things", [DAY], NOW)
    with pytest.raises(error, match=text):
        raise outcome.failed[0].error


def test_a_format_that_is_not_registered_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="format has no kind `semicolons`: expected one of"):
        source_at("http://127.0.0.1:1")
