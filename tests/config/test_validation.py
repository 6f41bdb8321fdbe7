"""Parts of an endpoint that do not fit together: one sentence with file, line and the remedy."""

from pathlib import Path

import pytest

from pipeline.config import load_source
from pipeline.errors import ConfigError

HEAD = "source: shop\nbase_url: https://api.example.org\nstart: 2026-11-01\nendpoints:\n  things:\n"
CURSOR = '    cursor: at\n    columns: {at: "timestamp[iso]"}\n'


def sentence(tmp_path: Path, body: str) -> str:
    file = tmp_path / "shop.yaml"
    file.write_text(HEAD + body)
    with pytest.raises(ConfigError) as error:
        load_source(file, {})
    said = str(error.value)
    assert all(line.startswith(f"{file}:5: endpoints.things: ") for line in said.splitlines())
    return said


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "    key: [id]\n    paging: {kind: token, limit: 10}\n"
            '    request: {params: {c: "{token}"}}\n',
            "token paging needs the place of the next token: `paging.next`",
        ),
        (
            "    key: [id]\n    paging: {kind: token, limit: 10, next: next}\n",
            "token paging needs {token} in the request",
        ),
        (
            "    key: [id]\n    paging: {kind: token, limit: 10, next: next, as_params: true}\n"
            '    request: {params: {c: "{token}"}}\n',
            "`as_params` makes parameters of the object at `paging.next`: name it there, and ",
        ),
        (
            "    key: [id]\n    paging: {kind: link, limit: 10}\n"
            '    request: {params: {p: "{page}"}}\n',
            "the request has {page}, which paging of kind `link` never fills: take it out, or use "
            "`paging: {kind: page, …}`",
        ),
        (
            '    key: [id]\n    request: {params: {since: "{start}", until: "{end}"}}\n',
            "but the endpoint has no cursor",
        ),
        (
            CURSOR + '    key: [id]\n    request: {params: {since: "{start}"}}\n',
            "has {start}, but no {end}: add the parameter of the upper bound, or say "
            "`window: {end: none}`",
        ),
        (
            CURSOR + "    key: [id]\n    window: {end: none}\n"
            '    request: {params: {since: "{start}", until: "{end}"}}\n',
            "`window.end` is none: take one of them out",
        ),
        (CURSOR + "    key: [id]\n", "needs the window in its request"),
        (
            "    key: [id]\n    infer: false\n    columns: {name: string}\n",
            "the key `id` is not among the columns, and `infer` is false: declare it",
        ),
        (
            "    key: [id]\n    request: {dialect: apicalypse}\n    base_url: https://b.test\n",
            "`base_url` of an endpoint is for requests of HTTP: queries in Apicalypse go to that",
        ),
        (
            "    key: [id]\n    paging: {kind: cursor, limit: 10}\n",
            "paging by the cursor needs a cursor",
        ),
        (
            "    key: [id]\n    path: posts/{parent}/likes\n",
            "the request has {parent}, but the endpoint has no `parents`",
        ),
        (
            CURSOR + "    key: [id]\n    paging: {kind: offset, limit: 10}\n"
            '    request: {params: {o: "{offset}", since: "{start}", until: "{end}"}}\n'
            '    window: {max_s: 86400, floor: "1970-01-01"}\n',
            "a baseline from `window.floor` on is longer than `window.max_s`, and paging of kind ",
        ),
        (
            "    key: [id]\n    path: posts/{parent}/likes\n    parents: {endpoint: posts}\n"
            "    sweep: true\n",
            "children can be requested by parent only: leave `sweep` out",
        ),
        (
            CURSOR + "    key: [id]\n    paging: {kind: cursor, limit: 10}\n    sweep: true\n"
            '    request: {params: {since: "{start}", until: "{end}"}}\n',
            "a sweep reads all keys, whatever their cursor",
        ),
        (
            '    key: [id]\n    request: {params: {since: "{from}", fields: "id,posts{text}"}}\n',
            "`since` is `{from}`, which is no placeholder: expected one of {start}, {end}, {limit}",
        ),
        (
            "    key: [id]\n    sweep: true\n    paging: {kind: page, limit: 10}\n"
            '    request: {params: {p: "{page}"}}\n',
            "of numbered pages only a count tells: name it as `count` or `paging.total`, or leave",
        ),
        (
            "    key: [id]\n    sweep: true\n",
            "the type of `id` is not declared: add it, e.g. `columns: {id: int64}`",
        ),
    ],
)
def test_a_combination_that_can_not_work(tmp_path: Path, body: str, expected: str) -> None:
    assert expected in sentence(tmp_path, body)


def test_parents_that_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(HEAD + "    key: [id]\n    parents: {endpoint: posts}\n")
    with pytest.raises(ConfigError, match="posts"):
        load_source(file, {})


def test_a_setting_changes_the_limits_only_with_a_key() -> None:
    nvd = Path("sources/nvd.yaml")
    assert load_source(nvd, {}).limits.windows[0].requests == 5
    assert load_source(nvd, {"NVD_API_KEY": "k"}).limits.windows[0].requests == 50
