"""`check-source` and children: they are asked for by the rows that their parent showed."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourcetool.check import Wanted, check
from tests.support.responses import json_answer
from tests.support.runs import serving

YAML = """
source: desk
base_url: {url}
start: 2026-11-01
limits: {{windows: [{{requests: 100, per_s: 1}}]}}
endpoints:
  comments:
    path: tickets/{{parent}}/comments
    key: [id]
    columns: {{ticket: string, id: int64, body: string}}
    parents: {{endpoint: tickets, column: ref, column_here: ticket}}
  tickets:
    key: [id]
"""


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    async def tickets(request: Request) -> Response:
        return json_answer([{"id": n, "ref": f"T-{n}"} for n in range(1, 5)])

    async def comments(request: Request) -> Response:
        of = request.path_params["ref"]
        return json_answer([] if of == "T-1" else [{"id": n, "body": "a"} for n in range(2)])

    routes = [Route("/tickets", tickets), Route("/tickets/{ref}/comments", comments)]
    with serving(Starlette(routes=routes)) as url:
        yield url


def checked(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str = "", new: str = ""
) -> tuple[int, str]:
    monkeypatch.setenv("HEADRACE_BUDGET", str(tmp_path / "budget"))
    file = tmp_path / "desk.yaml"
    file.write_text(YAML.format(url=api).replace(old, new))
    console = Console(file=io.StringIO(), width=120, soft_wrap=True)
    code = check(str(file), Wanted(["comments"], 2, 2), console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def test_children_are_looked_at_for_the_first_parent_that_has_some(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = checked(api, tmp_path, monkeypatch)
    assert said.index(" tickets ") < said.index("comments of T-2 ")
    assert "nothing to doubt in 2 endpoints" in said
    assert code == 0


@pytest.mark.parametrize(
    ("old", "new", "said", "breaks"),
    [
        ("column: ref", "column: reff", "a column of `desk/tickets`: one of id, ref", True),
        ("tickets/{parent}/", "tickts/{parent}/", "parent T-1: the API refused", True),
        ("body: string", "text: string", "declared, and in none of 2 rows: text", False),
        ("tickets:\n    key", "tickets:\n    path: none\n    key", "was nothing to ask for", True),
    ],
)
def test_what_is_misspelt_in_a_child_is_noticed(
    api: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    said: str,
    breaks: bool,
) -> None:
    code, shown = checked(api, tmp_path, monkeypatch, old, new)
    assert said in shown
    assert code == int(breaks)
