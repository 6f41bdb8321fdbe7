"""Who may import whom, and how long a file and a function may be: read from the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.auth import AUTH
from pipeline.bookmarks import BOOKMARKS
from pipeline.decode.base import DECODERS
from pipeline.kinds import Kinds
from pipeline.lake.stores.base import STORES
from pipeline.pagination import PAGINATION
from pipeline.partitions import SCHEMES
from pipeline.ratelimit.stores.base import BUDGET_STORES

ROOT = Path(__file__).parents[1]
MOST_LINES = 500
MOST_LINES_OF_A_FUNCTION = 60

# Each may import itself, and those that are named. The direction is that of the data's way back:
# definitions → assets → resources → pipeline.
MAY_IMPORT = {
    "definitions": {"assets", "resources", "pipeline"},
    "assets": {"resources", "pipeline"},
    "resources": {"pipeline"},
    "pipeline": set[str](),
    "sourcetool": {"assets", "resources", "pipeline"},
    "emulator": set[str](),
    "local": {"emulator"},
    "commands": {"local", "resources", "pipeline"},
    "docsite": {"assets", "commands", "local", "resources", "pipeline", "sourcetool"},
}
OURS = {*MAY_IMPORT, "benchmarks", "tests", "examples"}
NEEDS_NO_DAGSTER = ("pipeline", "emulator")
# The engine in the order in which it is read. Each uses only those before it.
ENGINE = (
    "messages", "errors", "kinds", "model", "redaction", "runtime",
    "timestamps", "decode", "partitions", "auth", "hooks", "pagination", "bookmarks", "aws",
    "config", "dialects", "ratelimit", "http", "extract", "lanes", "lake", "run",
)  # fmt: skip
# Their registries: a family that is not here is not held to its rule.
FAMILIES: tuple[Kinds[Any], ...] = (
    AUTH, BOOKMARKS, BUDGET_STORES, DECODERS, PAGINATION, SCHEMES, STORES,
)  # fmt: skip
DOORS = {"pipeline.lake.s3"}  # the name of a kind that users import in programs of their own
# A name says what the thing holds, and not when it came: see "How we write" in CONTRIBUTING.md.
NO_NAMES = {
    "found", "seen", "saw", "said", "told", "asked", "heard", "given", "got", "came", "kept",
    "handed", "left", "gone", "one", "it", "here", "there",
}  # fmt: skip
NAMED = ("pipeline", "assets", "resources", "commands", "sourcetool", "definitions")
PACKAGES = [
    file.parent
    for top in ("assets", "resources", "pipeline", "sourcetool", "commands", "docsite")
    for file in sorted((ROOT / top).rglob("__init__.py"))
]


@cache
def files() -> tuple[Path, ...]:
    """The Python files of the project, without the tests."""
    folders = [ROOT / name for name in (*MAY_IMPORT, "benchmarks", "examples")]
    found = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    return (ROOT / "definitions.py", *found)


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports_of(file: Path, *, at_load: bool = False) -> Iterator[str]:
    """Modules that a file names in imports, wherever they stand, or only those run at load."""
    nodes = _at_load(tree_of(file)) if at_load else ast.walk(tree_of(file))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: import by the full name"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_load(tree: ast.Module) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        types_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not types_only and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_go_one_way(layer: str) -> None:
    allowed = MAY_IMPORT[layer] | {layer}
    for file in files():
        if module_of(file).split(".")[0] != layer:
            continue
        for name in imports_of(file):
            top = name.split(".")[0]
            assert top not in OURS - allowed, f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("layer", NEEDS_NO_DAGSTER)
def test_the_engine_and_the_emulator_know_no_dagster(layer: str) -> None:
    for file in files():
        if module_of(file).split(".")[0] == layer:
            for name in imports_of(file):
                assert not name.split(".")[0].startswith("dagster"), f"{file}: {name}"


@pytest.mark.parametrize("part", ENGINE)
def test_the_engine_reads_in_one_direction(part: str) -> None:
    later = ENGINE[ENGINE.index(part) + 1 :]
    for file in files():
        if module_of(file).split(".")[:2] == ["pipeline", part]:
            for name in imports_of(file):
                of = name.split(".")
                assert of[0] != "pipeline" or of[1:2] not in [[x] for x in later], f"{file}: {name}"


def test_every_part_of_the_engine_has_its_place() -> None:
    engine = (module_of(file).split(".") for file in files())
    assert {of[1] for of in engine if of[0] == "pipeline" and len(of) > 1} == {*ENGINE}


def test_no_module_of_the_engine_is_imported_in_a_circle() -> None:
    modules = {module_of(f): f for f in files() if module_of(f).split(".")[0] == "pipeline"}
    edges = {
        module: {
            name
            for name in imports_of(file, at_load=True)
            # A package's __init__ gathers what its modules say; its own modules may not need it.
            if name in modules and name != module and modules[name].name != "__init__.py"
        }
        for module, file in modules.items()
    }
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in sorted(edges[module]):
                visit(other, (*way, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_package_says_what_each_of_its_modules_is_for(folder: Path) -> None:
    says = ast.get_docstring(tree_of(folder / "__init__.py")) or ""
    modules = {file.stem for file in folder.glob("*.py") if not file.stem.startswith("__")}
    assert {name for name in modules if f"``{name}``" not in says} == set()


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_are_short(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{lines} lines"
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("kinds", FAMILIES, ids=lambda kinds: kinds.family)
def test_no_module_outside_a_family_names_one_of_its_kinds(kinds: Kinds[Any]) -> None:
    """Who needs a kind asks the registry for it by its name, and what it does asks its base."""
    home = kinds.base.__module__.rpartition(".")[0]
    names = {kind.__name__ for _, kind in kinds}
    assert {kind.__module__.startswith(f"{home}.") for _, kind in kinds} == {True}
    for file in files():
        if module_of(file).startswith(home) or module_of(file) in DOORS:
            continue
        for node in ast.walk(tree_of(file)):
            name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", None)))
            line = getattr(node, "lineno", 0)
            assert name not in names, f"{file.relative_to(ROOT)}:{line} names {name}"


def _bound_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The names of functions, parameters, variables and attributes that a module makes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ExceptHandler):
            yield node.name or "", node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


@pytest.mark.parametrize("layer", NAMED)
def test_a_name_says_what_the_thing_holds(layer: str) -> None:
    ours = [file for file in files() if module_of(file).split(".")[0] == layer]
    bad = [
        f"{file.relative_to(ROOT)}:{line} {name}"
        for file in ours
        for name, line in [(file.stem, 0), *_bound_names(tree_of(file))]
        if name.strip("_") in NO_NAMES
    ]
    assert bad == []


@pytest.mark.parametrize("layer", NAMED)
def test_a_docstring_explains_parameters_that_are_there(layer: str) -> None:
    bad = []
    for file in (file for file in files() if module_of(file).split(".")[0] == layer):
        for node in ast.walk(tree_of(file)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            named = re.findall(r":(?:param|ivar|cvar) (\w+):", ast.get_docstring(node) or "")
            own = {name for name, _ in _bound_names(ast.Module([node], []))} if named else set()
            bad += [f"{file.relative_to(ROOT)}:{node.lineno} {n}" for n in named if n not in own]
    assert bad == []


def test_no_public_class_name_stands_for_two_things() -> None:
    homes: dict[str, list[str]] = {}
    for file in files():
        if module_of(file).split(".")[0] in {*MAY_IMPORT} - {"definitions"}:
            for node in ast.walk(tree_of(file)):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, []).append(module_of(file))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}
