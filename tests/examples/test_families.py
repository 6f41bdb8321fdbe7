"""``examples/families``: each source, as it stands, against a strict server of its family."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.paths import ROOT
from pipeline.config import Source, load_source
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.examples.family_apis import HANDLERS, ORDERS, app_of, wanted
from tests.support.runs import days_from, extract, serving

pytestmark = pytest.mark.slow
FOLDER = ROOT / "examples" / "families"
FILES = sorted(FOLDER.glob("*.yaml"))
NOW = datetime(2026, 11, 5, tzinfo=UTC)
DAYS = days_from("2026-11-01", 4)


def source_at(file: Path, url: str) -> Source:
    text = file.read_text(encoding="utf-8")
    settings = dict.fromkeys(re.findall(r"\$\{(\w+)", text), "sample-token")
    return load_source(file, settings | {"API_URL": url})


def test_each_family_has_a_server() -> None:
    assert [file.stem for file in FILES] == sorted(HANDLERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_family_is_read_day_by_day(
    file: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sample")
    with serving(app_of(file.stem)) as url:
        source = source_at(file, url)
        (name,) = source.endpoints
        incremental = source.endpoints[name].incremental
        manifests = extract(source, lake, name, DAYS if incremental else DAYS[-1:], NOW)
    for manifest in manifests:
        column = next(c for c in source.endpoints[name].columns if c.lower() == "name")
        rows = key_rows(lake, manifest.files, [column])[column].to_pylist()
        window = manifest.window
        truth = wanted(window.start, window.end) if incremental else iter(ORDERS)
        assert sorted(rows) == sorted(order.name for order in truth)
        assert len(rows) > 20, "more than a page"
        assert all(table.rows == len(rows) for table in manifest.tables.values())
    assert {m.proof.rests_on for m in manifests} <= {"keys", "count", "chain", "one page"}
