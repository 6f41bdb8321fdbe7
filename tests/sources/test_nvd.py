"""`sources/nvd.yaml` against an emulated NVD: every CVE of every day."""

from datetime import UTC, datetime

import pytest

from pipeline.config import Source
from pipeline.errors import RequestRefused
from pipeline.lake.s3 import Lake
from tests.sources.nvd_api import Nvd, cves
from tests.support.runs import check_rows, days_from, extract, landed, outcome_of, serving, shipped

pytestmark = pytest.mark.slow

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
DAYS = days_from("2026-11-01", 4)


def source_at(base_url: str, key: str = "") -> Source:
    env = {
        "NVD_BASE_URL": f"{base_url}/rest/json",
        "NVD_API_KEY": key,
        "NVD_THROTTLE_WAIT_S": "0.05",
    }
    return shipped("nvd", env)


@pytest.mark.parametrize(
    ("inclusive", "number"),
    [pytest.param(True, 20_500, marks=pytest.mark.slow), (False, 3_000)],
)
def test_every_cve_of_every_day(lake: Lake, inclusive: bool, number: int) -> None:
    rows = cves(number, FIRST, NOW)
    for i, text in enumerate(["2026-11-01T21:00:00.000", "2026-11-03T00:00:00.000"]):
        rows[i]["cve"]["lastModified"] = text  # where a window begins, and where one ends
    nvd = Nvd(rows, inclusive=inclusive, refuse=(1, 5, 6))
    with serving(nvd.app()) as url:
        source = source_at(url, "the-key")
        manifests = extract(source, lake, "cves", DAYS, NOW)
    wanted = landed(source, "cves", rows)
    assert sum(check_rows(source, lake, m, wanted) for m in manifests) > number
    assert nvd.keyed == len(nvd.asked)
    assert sum(m.throttled for m in manifests) == 3
    assert any("%2B00:00" in query or "%2B00%3A00" in query for query in nvd.asked)


def test_a_window_longer_than_120_days_is_cut(lake: Lake) -> None:
    rows = cves(2_000, FIRST, NOW)
    nvd = Nvd(rows)
    with serving(nvd.app()) as url:
        source = source_at(url)
        wide = source.model_copy(update={"safety_margin_s": 200 * 86_400.0})
        manifests = extract(wide, lake, "cves", DAYS[-1:], NOW)
    assert check_rows(wide, lake, manifests[0], landed(wide, "cves", rows)) > 1_000
    assert len(nvd.asked) == 2
    assert nvd.keyed == 0


def test_a_wrong_key_is_told_in_the_words_of_nvd(lake: Lake) -> None:
    with serving(Nvd([]).app()) as url:
        outcome, requests = outcome_of(source_at(url, "wrong"), lake, "cves", DAYS[:1], NOW)
    assert isinstance(outcome.failed[0].error, RequestRefused)
    assert "404: Invalid apiKey." in str(outcome.failed[0].error)
    assert requests == 1
