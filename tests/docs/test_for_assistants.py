"""`llms.txt` and the page that it names first: it fits a model's context, and its examples load."""

import re
from pathlib import Path

import pytest
import yaml

from docsite.pages import ROOT
from pipeline.auth import AUTH
from pipeline.config import load_source
from pipeline.config.settings import names_in
from pipeline.pagination import PAGINATION

PAGE = ROOT / "docs" / "for-assistants.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
MOST_TOKENS = 12_000
LEAST_CHARACTERS_A_TOKEN = 3
"""Of Markdown and YAML; tokenizers of today make about 3.5."""


def test_the_page_fits_a_context() -> None:
    assert len(TEXT) / LEAST_CHARACTERS_A_TOKEN <= MOST_TOKENS


def test_there_are_ten_examples() -> None:
    assert len(EXAMPLES) == 10


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: str(yaml.safe_load(text)["source"]))
def test_an_example_loads(tmp_path: Path, text: str) -> None:
    file = tmp_path / f"{yaml.safe_load(text)['source']}.yaml"
    file.write_text(text, encoding="utf-8")
    settings = dict.fromkeys(names_in(text), "x") | {"SHOP_BASE_URL": "https://shop.test"}
    assert load_source(file, settings).endpoints


@pytest.mark.parametrize("kinds", [PAGINATION, AUTH], ids=["pagination", "auth"])
def test_every_kind_is_named(kinds: object) -> None:
    for name in kinds.names:  # type: ignore[attr-defined]
        if name != "python":
            assert re.search(rf"\b{name}\b", TEXT), name


def test_the_index_names_files_that_exist() -> None:
    text = (ROOT / "llms.txt").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links[0] == "docs/for-assistants.md"
    assert [link for link in links if not (ROOT / link).exists()] == []
