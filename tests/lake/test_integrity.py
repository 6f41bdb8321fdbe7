"""What is damaged after its commit: the next day lands, and everybody who looks names the file."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assets.asset_checks import coverage
from commands.__main__ import main
from local.services import S3
from pipeline.config import Source
from pipeline.errors import LakeDamaged, LakeRefused, LakeUnavailable, ReadAnew
from pipeline.lake.maintenance import MaintenanceReport, clean
from pipeline.lake.manifest import Manifest, ManifestFile, checksum_of
from pipeline.lake.read import current, manifests
from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST, SECOND, THIRD = "2026-11-01", "2026-11-02", "2026-11-03"
MUCH_LATER = timedelta(days=30)


HOURS = [datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(24 * 5)]


async def items(request: Request) -> Response:
    """A row every hour."""
    asked = request.query_params
    start, end = datetime.fromisoformat(asked["from"]), datetime.fromisoformat(asked["to"])
    rows = [
        {"id": n, "at": at.isoformat(), "text": f"payload {n * 7919}"}
        for n, at in enumerate(HOURS)
        if start <= at < end
    ]
    first = int(asked.get("offset", 0))
    return json_answer(rows[first : first + int(asked.get("limit", 1_000))])


@pytest.fixture
def url() -> Iterator[str]:
    with serving(Starlette(routes=[Route("/items", items)])) as served:
        yield served


def source_at(url: str, more: str = "", batch_rows: int = 25_000) -> Source:
    """The margin of two hours is read again by the day after."""
    return source_of(
        f"""
        source: shop
        base_url: {url}
        start: {FIRST}
        safety_margin_s: 7200
        endpoints:
          items:
            request: {{params: {{from: "{{start}}", to: "{{end}}"{more}}}}}
            {"paging: {kind: offset, limit: 10}" if more else ""}
            window: {{floor: "1970-01-01T00:00:00Z"}}
            key: [id]
            cursor: at
            batch_rows: {batch_rows}
            columns: {{id: int64, at: "timestamp[iso]", text: string}}
        """
    )


@pytest.fixture
def source(url: str) -> Source:
    return source_at(url)


def committed(source: Source, lake: Lake, *days: str) -> list[Manifest]:
    return extract(source, lake, "items", days, NOW)


def removed(lake: Lake, file: ManifestFile) -> None:
    lake.delete([file.path])


def body_of(lake: Lake, file: ManifestFile) -> bytes:
    stored = lake.get(file.path)
    assert stored is not None
    return stored.body


def replaced(lake: Lake, file: ManifestFile, body: bytes) -> None:
    lake.delete([file.path])
    lake.put(file.path, body, replaces=None)


def cut(lake: Lake, file: ManifestFile) -> None:
    replaced(lake, file, body_of(lake, file)[:-100])


def garbage(lake: Lake, file: ManifestFile) -> None:
    replaced(lake, file, b"x" * file.bytes)


def flipped(lake: Lake, file: ManifestFile) -> None:
    body = bytearray(body_of(lake, file))
    body[60] ^= 1
    replaced(lake, file, bytes(body))


Harm = Callable[[Lake, ManifestFile], None]
HARMS: list[Harm] = [removed, cut, garbage, flipped]


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_the_next_day_is_committed_and_says_what_is_damaged(
    lake: Lake, source: Source, harm: Harm
) -> None:
    [first] = committed(source, lake, FIRST)
    harm(lake, first.files[0])
    outcome, _ = outcome_of(source, lake, "items", [SECOND], NOW)
    assert not outcome.failed
    [result] = outcome.results
    assert result.manifest.rows == 26
    warning = result.manifest.notes.warning
    assert f"late rows are not counted, since {FIRST} can't be read: `{first.files[0].path}`" in (
        warning
    )
    assert f"Materialize shop/items {FIRST} again" in warning
    committed(source, lake, FIRST)
    [mended] = committed(source, lake, SECOND)
    assert mended.notes.warning == ""
    assert mended.margin_rows == 2


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (removed, "is missing"),
        (cut, "bytes, expected"),
        (garbage, "has the checksum"),
        (flipped, "has the checksum"),
    ],
)
def test_a_reader_names_the_damaged_file(
    lake: Lake, source: Source, harm: Harm, found: str
) -> None:
    first, _ = committed(source, lake, FIRST, SECOND)
    harm(lake, first.files[0])
    kind = LakeUnavailable if harm is removed else LakeDamaged
    with pytest.raises(kind, match=f"`{first.files[0].path}` .*{found}.*{FIRST} again"):
        current(lake, "shop", "items")


def cleaned(lake: Lake, *, dry_run: bool) -> MaintenanceReport:
    return clean(lake, dry_run=dry_run, now=datetime.now(UTC) + MUCH_LATER)


@pytest.mark.parametrize(("harm", "found"), [(removed, "is missing"), (cut, "bytes, expected")])
def test_maintenance_and_coverage_name_missing_and_resized_files(
    lake: Lake, source: Source, harm: Harm, found: str
) -> None:
    first, *_ = committed(source, lake, FIRST, SECOND, THIRD)
    assert coverage(source, lake, "items").passed
    assert cleaned(lake, dry_run=True).damaged == ()
    harm(lake, first.files[0])
    [damage] = cleaned(lake, dry_run=False).damaged
    assert (damage.path, damage.partition) == (first.files[0].path, f"shop/items {FIRST}")
    assert found in damage.finding
    check = coverage(source, lake, "items")
    assert not check.passed
    assert first.files[0].path in str(check.description)
    assert f"materialize shop/items {FIRST} again" in str(check.description)
    committed(source, lake, FIRST)
    assert coverage(source, lake, "items").passed


def test_maintenance_keeps_the_files_of_a_manifest_in_place_of_which_an_older_one_was_restored(
    lake: Lake, source: Source
) -> None:
    key = f"shop/items/_manifests/dt={FIRST}.json"
    bodies = []
    for _ in range(2):
        committed(source, lake, FIRST)
        stored = lake.get(key)
        assert stored is not None
        bodies.append(stored.body)
    for body in bodies:
        lake.delete([key])
        lake.put(key, body, replaces=None)
        if body == bodies[0]:
            assert [each.kind for each in cleaned(lake, dry_run=False).damaged] == ["missing"]
    assert current(lake, "shop", "items").num_rows == 24


def swapped(lake: Lake, source: Source) -> tuple[Manifest, Manifest]:
    """The first day's manifest lies at the second one's name."""
    first, second = committed(source, lake, FIRST, SECOND)
    key = f"shop/items/_manifests/dt={SECOND}.json"
    lake.delete([key])
    lake.put(key, first.to_json().encode(), replaces=None)
    return first, second


def miscounted(lake: Lake, source: Source) -> tuple[Manifest, Manifest]:
    first, second = committed(source, lake, FIRST, SECOND)
    key = f"shop/items/_manifests/dt={SECOND}.json"
    lake.delete([key])
    lake.put(key, replace(second, rows=5).to_json().encode(), replaces=None)
    return first, second


def strayed(lake: Lake, source: Source) -> tuple[Manifest, Manifest]:
    first, second = committed(source, lake, FIRST, SECOND)
    key = f"shop/items/_manifests/dt={SECOND}.json"
    lake.delete([key])
    body = replace(second, files=first.files, rows=first.rows).to_json()
    lake.put(key, body.encode(), replaces=None)
    return first, second


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (swapped, f"is the manifest of shop/items {FIRST}, expected that of shop/items {SECOND}"),
        (miscounted, "has 5 rows, and its files have 26"),
        (strayed, "expected files in `shop/items/dt=2026-11-02/`"),
    ],
)
def test_a_manifest_that_is_not_its_name_s_is_not_believed(
    lake: Lake,
    source: Source,
    harm: Callable[[Lake, Source], tuple[Manifest, Manifest]],
    found: str,
) -> None:
    _, second = harm(lake, source)
    orphan = second.files[0].path.replace("part-00000", "part-00007")
    lake.put(orphan, b"1", replaces=None)
    lake.put(orphan.replace(SECOND, FIRST), b"1", replaces=None)
    with pytest.raises(LakeRefused, match=found):
        manifests(lake, "shop", "items")
    assert found in str(coverage(source, lake, "items").description)
    before = [item.key for item in lake.list("shop/items/dt=")]
    report = cleaned(lake, dry_run=False)
    [sentence] = report.refused
    assert found in sentence
    assert [item.key for item in lake.list("shop/items/dt=")] == before, "nothing is deleted"
    lake.delete([f"shop/items/_manifests/dt={SECOND}.json"])
    [again] = committed(source, lake, SECOND)
    assert again.rows == 26
    assert cleaned(lake, dry_run=False).refused == ()
    assert {item.key for item in lake.list("shop/items/dt=")} == {
        path for each in manifests(lake, "shop", "items") for path in each.paths
    }


@pytest.mark.parametrize(
    ("member", "value", "found"),
    [
        ("watermark", "x", "ValueError"),
        ("watermark", "2026-11-01T23:00:00", "`watermark` has no time zone"),
        ("watermark", "2026-11-09T00:00:00+00:00", "`watermark` is later than `window.end`"),
        ("window.end", "2026-11-02T00:00:00", "`window.end` has no time zone"),
        ("window.end", "2026-11-01T00:00:00+00:00", "`watermark` is later than `window.end`"),
        ("rows", "7", "`rows` is no whole number"),
        ("definition", None, "`definition` is no text"),
        ("columns", [{"name": "id"}], "`columns` is no list of names and types"),
    ],
)
def test_a_manifest_that_somebody_has_edited_is_refused_with_its_member(
    lake: Lake, source: Source, member: str, value: object, found: str
) -> None:
    committed(source, lake, FIRST)
    key = f"shop/items/_manifests/dt={FIRST}.json"
    stored = lake.get(key)
    assert stored is not None
    data = json.loads(stored.body)
    outer, _, inner = member.rpartition(".")
    (data[outer] if outer else data)[inner] = value
    lake.delete([key])
    lake.put(key, json.dumps(data).encode(), replaces=None)
    outcome, _ = outcome_of(source, lake, "items", [SECOND], NOW)
    [failed] = outcome.failed
    assert isinstance(failed.error, LakeRefused)
    assert found in str(failed.error)
    assert "restore the object, or delete it" in str(failed.error)


def test_types_that_somebody_has_edited_in_a_manifest_are_inferred_anew(
    lake: Lake, source: Source
) -> None:
    [first] = committed(source, lake, FIRST)
    key = f"shop/items/_manifests/dt={FIRST}.json"
    odd = [{**column, "type": "2026"} for column in first.columns]
    lake.delete([key])
    lake.put(key, replace(first, columns=odd).to_json().encode(), replaces=None)
    [second] = committed(source, lake, SECOND)
    assert list(second.columns) == list(first.columns)


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_verify_reads_every_byte(
    s3: S3,
    lake: Lake,
    source: Source,
    harm: Harm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**s3.env(), "HEADRACE_LAKE": lake.url().rstrip("/")}.items():
        monkeypatch.setenv(name, value)

    first, second = committed(source, lake, FIRST, SECOND)
    assert second.files[0].checksum == checksum_of(body_of(lake, second.files[0]))
    assert main(["verify", "shop"]) == 0
    assert capsys.readouterr().out == "shop/items: 2 files, all as they were committed\n"
    harm(lake, first.files[0])
    assert main(["verify"]) == 1
    said = capsys.readouterr().out
    assert f"`{first.files[0].path}`" in said
    assert f"materialize shop/items {FIRST} again" in said
    assert main(["verify", "shop/items", "--partition", SECOND]) == 0
    assert main(["verify", "nobody"]) == 1


def test_a_file_that_arrives_otherwise_than_it_was_sent_is_read_again(lake: Lake, url: str) -> None:
    """Damaged between its upload and its commit: kept, it would fail every attempt to come."""
    several = source_at(url, ', offset: "{offset}", limit: "{limit}"', batch_rows=10)

    def strike(operation: str, key: str) -> None:
        if operation == "complete_upload" and "part-00001" in key:
            lake.on_operation = None
            [first] = lake.list(key.rpartition("/")[0])
            cut(lake, ManifestFile(first.key, 0, first.size))

    lake.on_operation = strike
    outcome, _ = outcome_of(several, lake, "items", [SECOND], NOW)
    [failed] = outcome.failed
    assert isinstance(failed.error, ReadAnew)
    assert "bytes, expected" in str(failed.error)
    [manifest] = committed(several, lake, SECOND)
    assert manifest.rows == 26
