"""Which sources share a budget: those that ask one API with one key."""

from pathlib import Path

import pytest

from pipeline.config import load_all, load_source
from pipeline.config.folders import budget_name
from pipeline.ratelimit import Limits, RateWindow, open_budget

KEY = "a-key-of-the-shop"


def name_of(
    folder: Path,
    name: str,
    *,
    url: str = "https://api.example.org/v1",
    auth: str = f"{{kind: api_key, name: X-Key, key: {KEY}}}",
) -> str:
    file = folder / f"{name}.yaml"
    file.write_text(
        f"source: {name}\nbase_url: {url}\nstart: 2026-11-01\nauth: {auth}\n"
        "endpoints: {things: {key: [id], paging: {kind: none}}}\n"
    )
    return budget_name(load_source(file))


def test_two_sources_that_use_one_key_of_one_api_share_it(tmp_path: Path) -> None:
    assert name_of(tmp_path, "orders") == name_of(tmp_path, "refunds")
    for url in ("https://api.example.org/v1/", "https://api.example.org:443/v2"):
        assert name_of(tmp_path, "orders") == name_of(tmp_path, "b", url=url)
    bearer = f"{{kind: bearer, token: {KEY}}}"
    assert name_of(tmp_path, "orders") == name_of(tmp_path, "b", auth=bearer)


def test_how_a_token_is_renewed_makes_no_other_key(tmp_path: Path) -> None:
    auth = (
        "{kind: oauth2_client_credentials, token_url: 'https://id.example.org/token', "
        "client_id: me, client_secret: mine, renew_before_s: %d}"
    )
    assert name_of(tmp_path, "a", auth=auth % 10) == name_of(tmp_path, "b", auth=auth % 20)


@pytest.mark.parametrize(
    "other",
    [
        {"auth": "{kind: api_key, name: X-Key, key: another}"},
        {"auth": "{kind: none}"},
        {"url": "https://other.example.org/v1"},
        {"url": "https://api.example.org:8443/v1"},
        {"auth": "{kind: python, path: 'a.module:Auth', options: {key: one}}"},
    ],
)
def test_another_key_or_api_has_a_budget_of_its_own(tmp_path: Path, other: dict[str, str]) -> None:
    assert name_of(tmp_path, "a") != name_of(tmp_path, "b", **other)


@pytest.mark.parametrize(
    "auth",
    [
        "{kind: python, path: 'a.module:Auth', options: {key: %s}}",
        "{kind: login, token_url: 'https://api.example.org/login', body: {user: %s}}",
    ],
)
def test_options_of_an_auth_and_who_logs_in_tell_keys_apart(tmp_path: Path, auth: str) -> None:
    assert name_of(tmp_path, "a", auth=auth % "one") != name_of(tmp_path, "b", auth=auth % "two")


def test_a_name_says_nothing_of_the_key(tmp_path: Path) -> None:
    name = name_of(tmp_path, "orders")
    assert name.startswith("api.example.org-")
    assert KEY not in name


@pytest.mark.parametrize(
    "url",
    ["http://[::1]:8080", "https://[2001:db8::1]/v1", "https://école.example", "http://-a-.x"],
)
def test_any_host_makes_a_name(tmp_path: Path, url: str) -> None:
    name = name_of(tmp_path, "orders", url=url)
    open_budget(name, Limits((RateWindow(1, 1.0),), 1), None)


def limited(folder: Path, name: str, limits: str, path: str = "v1") -> None:
    (folder / f"{name}.yaml").write_text(
        f"source: {name}\nbase_url: https://api.example.org/{path}\nstart: 2026-11-01\n"
        f"limits: {limits}\nendpoints: {{things: {{key: [id]}}}}\n"
    )


def test_the_stricter_limits_hold_for_all_of_a_budget_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limited(tmp_path, "a", "{windows: [{requests: 9, per_s: 1}], in_flight: 2}")
    limited(tmp_path, "b", "{windows: [{requests: 20, per_s: 1}, {requests: 99, per_s: 60}]}", "v2")
    one, two = load_all((str(tmp_path),), {}).sources
    for source in (one, two):
        found = sorted((w.requests, w.per_s) for w in source.limits.windows)
        assert found == [(9, 1.0), (99, 60.0)]
        assert source.limits.in_flight == 2
    assert "the sources `a` (9 requests in 1 s, 2 in flight), `b`" in caplog.text
    assert "2. `limits.budget`" in caplog.text


def test_a_budget_has_the_name_that_the_yaml_gives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limited(tmp_path, "a", "{windows: [{requests: 9, per_s: 1}], budget: slow}")
    limited(tmp_path, "b", "{windows: [{requests: 20, per_s: 1}], budget: fast}")
    one, two = load_all((str(tmp_path),), {}).sources
    assert (budget_name(one), budget_name(two)) == ("named-slow", "named-fast")
    assert [w.requests for w in (*one.limits.windows, *two.limits.windows)] == [9, 20]
    assert caplog.text == ""
