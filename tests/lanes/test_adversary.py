"""What goes wrong with AWS, a fault a lane: all rows land exactly, or the manifest says why not."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from starlette.responses import Response

from pipeline.extract import fan_out
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from tests.lanes.support import (
    DAYS,
    Call,
    Proxy,
    error,
    inventory,
    proxied,
    read,
    region_state,
    volumes_page,
)

pytestmark = pytest.mark.slow

PAGES = 4
ROWS = 3
ACCOUNT = "111111111111"
Lane = tuple[str, str]
Fault = Callable[[Call, int, int], Response | None]
"""Of a call, the number of its page, and how often that page was requested before."""


def page(call: Call, number: int, token: str | None = None) -> Response:
    """A page of volumes that follow from the lane and the number."""
    ids = [f"vol-{call.account}-{call.region}-{number}-{n}" for n in range(ROWS)]
    if token is None and number + 1 < PAGES:
        token = str(number + 1)
    return volumes_page(*ids, token=token)


def first(times: int, response: Callable[[], Response]) -> Fault:
    """Page 2 fails so often, and then comes."""
    return lambda call, number, before: response() if number == 2 and before < times else None


def always(response: Callable[[], Response], at: int = 2) -> Fault:
    return lambda call, number, before: response() if number == at else None


def skewed() -> Response:
    away = format_datetime(datetime.now(UTC) - timedelta(hours=2), usegmt=True)
    response = error("RequestTimeTooSkewed", 403)
    response.headers["date"] = away
    return response


def ends_after(session: int, code: str) -> Fault:
    """A session ends behind the first page."""

    def fault(call: Call, number: int, before: int) -> Response | None:
        return error(code) if number > 1 and call.session <= session else None

    return fault


def in_a_200(code: str) -> Response:
    inner = f"<Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors>"
    return Response(f"<Response>{inner}</Response>", 200)


@pytest.fixture
def aws(moto: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy that tells the time only where a fault does."""
    with proxied(moto, date_header=False) as both:
        yield both


HEALED: Mapping[str, Fault] = {
    "us-east-1": first(2, lambda: error("RequestLimitExceeded", 400)),
    "us-east-2": first(2, lambda: Response("slow", 429)),
    "us-west-1": first(2, lambda: error("SlowDown", 503)),
    "us-west-2": first(2, lambda: in_a_200("RequestLimitExceeded")),
    "eu-west-1": first(2, lambda: in_a_200("InternalError")),
    "eu-west-2": first(1, lambda: Response("", 200)),
    "eu-west-3": first(1, lambda: Response("<DescribeVolumesResponse><volumeSet><item>", 200)),
    "eu-central-1": first(1, lambda: error("InvalidNextToken", 400)),
    "eu-north-1": ends_after(1, "ExpiredToken"),
    "ap-south-1": first(2, lambda: error("InternalError", 500)),
}
"""By region: rows come in the end, and are exact."""
BROKEN: Mapping[str, tuple[Fault, str, str]] = {
    "us-east-1": (always(lambda: error("InternalError", 500)), "failed", "InternalError"),
    "us-east-2": (always(lambda: error("UnauthorizedOperation", 403)), "denied", ""),
    "us-west-1": (always(lambda: in_a_200("Odd")), "failed", "an error in it (Odd)"),
    "us-west-2": (always(lambda: Response("<html/>", 200)), "failed", "the response is `html`"),
    "eu-west-1": (always(lambda: error("InvalidNextToken")), "failed", "page token has expired"),
    "eu-west-2": (
        lambda call, number, before: page(call, number, token="2") if number == 2 else None,
        "failed",
        "A page came again as the page after it",
    ),
    "eu-central-1": (always(skewed), "failed", "clock and AWS's are 7,2"),
    "eu-north-1": (always(lambda: error("AuthFailure", 401)), "failed", "AuthFailure"),
    "ap-south-1": (always(lambda: error("AuthFailure", 401), at=0), "none", ""),
    "ap-northeast-1": (ends_after(99, "ExpiredToken"), "failed", "ExpiredToken"),
    "ap-northeast-2": (always(lambda: error("SignatureDoesNotMatch", 403)), "failed", "secret"),
}
"""By region, of which ``ap-south-1`` is off: the fault, its lane's outcome, and the sentence."""


def ill(faults: Mapping[str, Fault]) -> Callable[[Call], Response | None]:
    """The rule of a proxy: volumes that are made up, with faults."""
    calls: Counter[tuple[str, int]] = Counter()

    def rule(call: Call) -> Response | None:
        if call.action == "DescribeRegions":
            off = call.params["RegionName.1"] == "ap-south-1"
            return region_state("not-opted-in" if off else "opted-in")
        if call.action != "DescribeVolumes":
            return None
        number = int(call.params.get("NextToken", 0))
        before = calls[call.region, number]
        calls[call.region, number] += 1
        fault = faults.get(call.region)
        return (fault(call, number, before) if fault else None) or page(call, number)

    return rule


def volumes(lake: Lake) -> Counter[tuple[str, str, bool]]:
    """The rows of the newest partition: how often each is there."""
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    return Counter((row["region"], row["volume_id"], row["_stale"]) for row in rows)


def wanted(regions: Mapping[str, bool]) -> Counter[tuple[str, str, bool]]:
    """All rows of regions, by whether they are of the day before."""
    return Counter(
        (region, f"vol-{ACCOUNT}-{region}-{number}-{n}", stale)
        for region, stale in regions.items()
        for number in range(PAGES)
        for n in range(ROWS)
    )


def test_what_heals_is_exact(aws: tuple[Proxy, str], lake: Lake, tmp_path: Path) -> None:
    proxy, url = aws
    proxy.rules.append(ill(HEALED))
    source = inventory(url, [ACCOUNT], [*HEALED], tmp_path, more="max_failed_share: 0.0")
    outcome = read(source, lake, DAYS[0])
    assert not outcome.failed, outcome.failed[0].error
    assert volumes(lake) == wanted(dict.fromkeys(HEALED, False))
    assert outcome.results[0].manifest.throttled == 2 * 4
    assert outcome.results[0].manifest.notes.values["lanes"]["rows"] == len(HEALED)


def test_what_does_not_heal_is_said_and_its_rows_stay_as_stale(
    aws: tuple[Proxy, str], lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    regions = [*BROKEN, "sa-east-1"]
    source = inventory(url, [ACCOUNT], regions, tmp_path, more="max_failed_share: 0.9")
    proxy.rules.append(ill({}))
    read(source, lake, DAYS[0])
    assert volumes(lake) == wanted(dict.fromkeys([*BROKEN, "sa-east-1"], False))
    proxy.rules[:] = [ill({region: fault for region, (fault, *_) in BROKEN.items()})]
    (result,) = read(source, lake, DAYS[1]).results
    values = result.manifest.notes.values
    listed = {each["parent"].partition("/")[2]: each for each in values["failures"]}
    for region, (_, outcome, sentence) in BROKEN.items():
        assert listed[region].get("outcome", "failed") == outcome, region
        assert sentence in listed[region]["reason"], region
    stale = {region: True for region, (_, outcome, _) in BROKEN.items() if outcome != "none"}
    assert volumes(lake) == wanted({**stale, "sa-east-1": False})
    assert sum(values["lanes"].values()) == len(BROKEN) + 1


def test_a_long_lane_that_fails_has_each_row_once_the_new_ones_and_of_the_old_ones_the_others(
    aws: tuple[Proxy, str], lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "HELD_PAGES", 2)
    proxy, url = aws
    regions = ["us-east-1", "us-west-2"]
    source = inventory(url, [ACCOUNT], regions, tmp_path, more="max_failed_share: 0.9")
    proxy.rules.append(ill({}))
    read(source, lake, DAYS[0])
    assert volumes(lake) == wanted(dict.fromkeys(regions, False))
    odd = always(lambda: error("UnauthorizedOperation", 403), at=3)
    proxy.rules[:] = [ill({"us-east-1": odd})]
    (result,) = read(source, lake, DAYS[1]).results
    expected = wanted({"us-west-2": False})
    for region, name, _ in wanted({"us-east-1": False}):
        expected[region, name, name.split("-")[-2] not in "01"] += 1
    assert volumes(lake) == expected, "pages 0 and 1 had landed, 2 was held, 3 was denied"
    assert result.manifest.rows == 2 * PAGES * ROWS
    assert result.manifest.notes.older_versions == 2 * ROWS
    assert result.manifest.notes.values["lanes"]["denied"] == 1


def test_pages_that_never_end_end_with_the_time_of_their_lane(
    aws: tuple[Proxy, str], lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    endless = {"us-east-1": lambda call, number, before: page(call, number, token=f"{number + 1}")}
    proxy.rules.append(ill(endless))
    more = "max_failed_share: 1.0\nlane_timeout_s: 3"
    (result,) = read(
        inventory(url, [ACCOUNT], [*endless], tmp_path, more=more), lake, DAYS[0]
    ).results
    (listed,) = result.manifest.notes.values["failures"]
    assert listed["reason"] == "not read within 3 s"


def test_a_list_of_accounts_that_never_ends_is_refused(
    aws: tuple[Proxy, str], lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws

    def endless(call: Call) -> Response | None:
        if call.action != "ListAccounts":
            return None
        text = '{"Accounts": [{"Id": "222222222222", "State": "ACTIVE"}], "NextToken": "a"}'
        return Response(text)

    proxy.rules.append(endless)
    source = inventory(url, ["organization"], ["us-east-1"], tmp_path)
    with pytest.raises(Exception, match="a page names itself as the next one"):
        read(source, lake, DAYS[0])
    assert len(proxy.of("ListAccounts")) == 2


def test_a_clock_that_is_off_is_said_before_any_lane_is_read(
    aws: tuple[Proxy, str], lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    proxy.rules.append(lambda call: skewed() if call.service == "sts" else None)
    with pytest.raises(Exception, match=r"clock and AWS's are 7,2\d\d s apart.*set the clock"):
        read(inventory(url, [ACCOUNT], ["us-east-1"], tmp_path), lake, DAYS[0])
    assert {call.service for call in proxy.calls} == {"sts"}
