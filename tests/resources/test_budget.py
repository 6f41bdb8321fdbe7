"""Where a budget is by default, and the page of its last hour."""

import asyncio
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from assets.usage import page
from pipeline.config.limits import LimitsConfig, RateWindowConfig
from pipeline.config.settings import Settings
from pipeline.errors import ConfigError
from resources import ApiResource
from resources.budget import BudgetResource, default_budget_folder
from tests.support.yaml_sources import quick


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home that the machine knows."""
    at = tmp_path / "home"
    at.mkdir()
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_dir=str(at)))
    monkeypatch.setattr("os.getuid", lambda: 4811)
    return at


def test_the_default_folder_is_one_whatever_the_environment_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "TMPDIR", "HOME"):
        monkeypatch.setenv(name, str(home.parent / name))
        assert default_budget_folder() == f"{home}/.local/state/headrace/budgets"
        monkeypatch.delenv(name)
        assert default_budget_folder() == f"{home}/.local/state/headrace/budgets"
    assert not list(home.iterdir()), "a look makes nothing"


@pytest.mark.parametrize("no_home", ["unknown", "gone", "read-only"])
def test_a_user_without_a_home_has_a_folder_of_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch, no_home: str
) -> None:
    if no_home == "unknown":
        monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    elif no_home == "gone":
        home.rmdir()
    else:
        monkeypatch.setattr("os.access", lambda path, _: path != home)
    monkeypatch.setattr("resources.budget.TEMPORARY", home.parent)
    folder = home.parent / "headrace-budgets-4811"
    for _ in range(2):
        assert default_budget_folder() == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["open to all", "a link", "a file"])
def test_a_folder_that_somebody_else_may_have_made_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    home.rmdir()
    monkeypatch.setattr("resources.budget.TEMPORARY", home.parent)
    folder = home.parent / "headrace-budgets-4811"
    if what == "a link":
        (home.parent / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to("elsewhere")
    elif what == "a file":
        folder.touch(mode=0o600)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(ConfigError, match="is not of this user alone"):
        default_budget_folder()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            LimitsConfig(windows=(RateWindowConfig(requests=40, per_s=1.0),)),
            "limit = 40 requests/s",
        ),
        (LimitsConfig(), "no limit"),
    ],
)
def test_the_page_of_a_budget_has_its_requests_429s_and_waits(
    tmp_path: Path, limits: LimitsConfig, said: str
) -> None:
    source = quick("http://api.test").model_copy(update={"limits": limits})
    api = ApiResource(budget=BudgetResource(where=str(tmp_path)))

    async def use() -> None:
        async with api.budget.open(source) as budget:
            for _ in range(3):
                async with budget.request():
                    pass
            await budget.throttled(0.0)

    assert "no requests" in page(source, api.budget.usage(source))
    asyncio.run(use())
    found = page(source, api.budget.usage(source))
    assert found.startswith(
        "3 requests in the last hour, 1 with status 429, 0 s waited for send slots"
    )
    assert f"requests/s, {said}\n" in found
    assert "| 3 | 1 | 0 |" in found


def test_a_password_in_the_store_s_url_is_in_no_repr() -> None:
    url = "postgresql://me:hush@host/database"
    budget = BudgetResource(where=url)
    settings = Settings.read({"HEADRACE_LAKE": "s3://lake", "HEADRACE_BUDGET": url})
    for each in (budget, ApiResource(budget=budget), settings):
        assert "hush" not in f"{each} {each!r}"
