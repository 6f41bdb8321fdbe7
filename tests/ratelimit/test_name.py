"""Which sources share a budget: those that ask one API with one key."""

from pathlib import Path

import pytest

from pipeline.config import load_source
from resources.budget import budget_name

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
    assert name_of(tmp_path, "orders") == name_of(tmp_path, "b", url="https://api.example.org/v1/")


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
        {"auth": "{kind: bearer, token: a-key-of-the-shop}"},
        {"auth": "{kind: none}"},
        {"url": "https://api.example.org/v2"},
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
