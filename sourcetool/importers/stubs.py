"""Stubs for a manifest's components in Python: a module that says what each has to do.

The components themselves are code for Airbyte's runtime, and are not run. The module imports as it
is; whoever fills a stub in writes the endpoint into the YAML and names the stub there.
"""

import re
import textwrap
from collections.abc import Iterator

from sourcetool.importers.converted import Converted

_SIGNER = '''
class {name}(httpx.Auth):
    """Signs each request of {streams}.

    As the manifest's ``{component}`` does.

    In the YAML: ``auth: {{kind: python, path: {module}:{name},
    options: {{key: "${{{setting}}}"}}}}``.
    What is fetched and must not be shown stands in ``secrets``, a set of texts.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        raise NotImplementedError("put into request.headers what {name} puts there")
        yield request
'''
_PAGER = '''
def {function}(request: PageRequest, info: PageInfo) -> PageRequest | None:
    """The page after one of {streams}; None at the end.

    As the manifest's ``{component}`` names it. In the YAML:
    ``paging: {{kind: python, path: {module}:{function}, limit: 100}}``.
    ``request`` has limit, offset, page, token, after; ``info`` has rows, first, last, total.
    """
    raise NotImplementedError("dataclasses.replace(request, page=…) while info.rows, else None")
'''
_ROWS = '''
def {function}(table: pa.Table) -> pa.Table:
    """The rows of {streams} that land, of a page's rows.

    As the manifest's ``{component}`` makes them. At the endpoint in the YAML:
    ``transform: {module}:{function}``. Declare what it makes in ``columns``.
    """
    raise NotImplementedError("pa.Table.from_pylist(rows, schema=table.schema)")
'''
_OTHER = """
# {component} ({kind}) of {streams}: nothing in the YAML takes its place. Where the API has a
# plain request for the same rows, write that one as an endpoint.
"""
_FORMS = {
    "authenticator": _SIGNER,
    "paginator": _PAGER,
    "pagination_strategy": _PAGER,
    "extractor": _ROWS,
    "record_selector": _ROWS,
    "record_filter": _ROWS,
    "transformations": _ROWS,
}
_HEAD = '''"""The parts of {source}'s connector in Python of its own, to be filled in.

Made from the manifest, which has no more than the names of these components.
"""
'''
_IMPORTS = (
    ("Generator[", "\nfrom collections.abc import Generator\n"),
    ("httpx.", "\nimport httpx\n"),
    ("pa.", "\nimport pyarrow as pa\n"),
    ("PageRequest", "\nfrom pipeline.pagination.page import PageInfo, PageRequest\n"),
)
"""What a module imports if it has the text before it."""


def stubs(converted: Converted, module: str) -> str:
    """The module's text; empty if no component is in Python.

    :param module: its name for an import, e.g. ``sources.shop_components``.
    """
    parts = list(_parts(converted, module))
    if not parts:
        return ""
    text = "".join(parts)
    imports = "".join(line for used, line in _IMPORTS if used in text)
    return _HEAD.format(source=converted.name) + imports + text


def _parts(converted: Converted, module: str) -> Iterator[str]:
    wanted: dict[tuple[str, str], list[str]] = {}
    for stream, needs in converted.left_out.items():
        for need in needs:
            if need.ability == "python":
                streams = wanted.setdefault((need.component, need.what), [])
                if stream not in streams:
                    streams.append(stream)
    taken: set[str] = set()
    for (kind, component), streams in wanted.items():
        name = _free(component.rpartition(".")[2] or kind, taken)
        text = _FORMS.get(kind, _OTHER).format(
            name=name,
            function=_free(_snake(name), taken),
            component=component,
            kind=kind,
            module=module,
            streams=_named(streams),
            setting=converted.settings.variable(("key",)),
        )
        yield "\n" + _wrapped(text) if text.startswith("\n#") else "\n" + text


def _free(name: str, taken: set[str]) -> str:
    plain = re.sub(r"\W", "_", name)
    plain = plain if plain[:1].isalpha() else f"Own{plain}"
    free, n = plain, 1
    while free in taken:
        n += 1
        free = f"{plain}{n}"
    taken.add(free)
    return free


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _named(streams: list[str]) -> str:
    names = [" ".join(stream.split()) for stream in streams[:3]]
    return ", ".join(names) + (f" and {len(streams) - 3} more" if len(streams) > 3 else "")


def _wrapped(comment: str) -> str:
    text = " ".join(line.strip("# ") for line in comment.strip().split("\n"))
    return "\n" + "\n".join(f"# {line}" for line in textwrap.wrap(text, 98)) + "\n"
