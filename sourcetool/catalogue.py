"""``catalogue``: of a folder of manifests, what converts and loads, and why the rest does not."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.errors import ConfigError
from sourcetool.importers.abilities import ABILITIES, Need
from sourcetool.importers.airbyte import convert
from sourcetool.importers.manifest import NoManifest, read_manifest
from sourcetool.importers.trial import tried

_ENDINGS = (".yaml", ".yml", ".json")


@dataclass
class Connector:
    """What became of one manifest.

    :ivar streams: how many it has.
    :ivar loaded: the names of those that convert and load.
    :ivar left_out: the reasons of the others, by name.
    :ivar columns: how many columns were left out of those that load.
    :ivar problem: why the file is no manifest, if it is none.
    """

    name: str
    streams: int = 0
    loaded: list[str] = field(default_factory=list)
    left_out: dict[str, list[Need]] = field(default_factory=dict)
    columns: int = 0
    problem: str = ""

    @property
    def whole(self) -> bool:
        return bool(self.loaded) and not self.left_out

    @property
    def own_python(self) -> bool:
        return any(need.ability == "python" for one in self.left_out.values() for need in one)

    def to_json(self) -> dict[str, Any]:
        reasons = {
            stream: [
                {"ability": need.ability, "component": need.component, "reason": need.reason}
                for need in needs
            ]
            for stream, needs in self.left_out.items()
        }
        return {
            "name": self.name,
            "streams": self.streams,
            "loaded": len(self.loaded),
            "whole": self.whole,
            "columns_left_out": self.columns,
            "left_out": reasons,
            **({"problem": self.problem} if self.problem else {}),
        }


def connector(file: Path) -> Connector:
    """Convert and load one manifest."""
    found = Connector(file.stem)
    try:
        manifest = read_manifest(file)
    except NoManifest as error:
        found.problem = str(error)
        return found
    converted = convert(manifest)
    found.streams = len(converted.streams) + len(converted.left_out)
    try:
        tried(converted, f"the manifest {file.name}")
    except ConfigError as error:
        reason = Need("loader", "loader", str(error).splitlines()[0].partition(": ")[2])
        for stream in converted.streams:
            converted.left_out[stream] = [reason]
        converted.streams.clear()
    found.loaded = list(converted.streams)
    found.left_out = converted.left_out
    found.columns = sum(map(len, converted.omitted.values()))
    return found


def catalogue(folder: str, form: str, console: Console) -> int:
    """Print the table; 2 if the folder has no manifests.

    :param form: ``table``, ``json`` or ``markdown``.
    """
    files = sorted(one for one in Path(folder).glob("*") if one.suffix in _ENDINGS)
    if not files:
        console.print(
            f"[bold red]✗[/] {escape(folder)}: expected a folder with manifests "
            f"({', '.join(_ENDINGS)}), found none",
            highlight=False,
        )
        return 2
    found = [connector(file) for file in files]
    if form == "json":
        console.out(json.dumps(_json(found), indent=2, ensure_ascii=False), highlight=False)
    elif form == "markdown":
        console.out(markdown(found), highlight=False)
    else:
        _show(found, console)
    return 0


def reasons(found: Sequence[Connector]) -> list[tuple[str, int, int]]:
    """Each ability that is wanted, in how many streams and connectors; the commonest first."""
    streams, connectors = Counter[str](), Counter[str]()
    for one in found:
        lists = [{need.ability for need in needs} for needs in one.left_out.values()]
        streams.update(ability for abilities in lists for ability in abilities)
        connectors.update({ability for abilities in lists for ability in abilities})
    return [(name, n, connectors[name]) for name, n in streams.most_common()]


def totals(found: Sequence[Connector]) -> dict[str, int]:
    """The figures of all manifests."""
    real = [one for one in found if not one.problem]
    python = sum(
        any(need.ability == "python" for need in needs)
        for one in real
        for needs in one.left_out.values()
    )
    return {
        "files": len(found),
        "connectors": len(real),
        "connectors_whole": sum(one.whole for one in real),
        "connectors_with_own_python": sum(one.own_python for one in real),
        "streams": sum(one.streams for one in real),
        "streams_loaded": sum(len(one.loaded) for one in real),
        "streams_with_own_python": python,
        "columns_left_out": sum(one.columns for one in real),
    }


def _json(found: Sequence[Connector]) -> dict[str, Any]:
    return {
        "totals": totals(found),
        "reasons": [
            {"ability": name, "title": ABILITIES[name].title, "streams": n, "connectors": m}
            for name, n, m in reasons(found)
        ],
        "connectors": [one.to_json() for one in found],
    }


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def summary(found: Sequence[Connector]) -> list[str]:
    """The figures in words."""
    t = totals(found)
    plain = t["streams"] - t["streams_with_own_python"]
    connectors = t["connectors"] - t["connectors_with_own_python"]
    lines = [
        f"{t['streams_loaded']:,} of {t['streams']:,} streams convert and load: "
        f"{_percent(t['streams_loaded'], plain)} of the {plain:,} without Python of their own",
        f"{t['connectors_whole']:,} of {t['connectors']:,} connectors do so whole: "
        f"{_percent(t['connectors_whole'], connectors)} of the {connectors:,} without Python of "
        "their own",
    ]
    if t["columns_left_out"]:
        lines.append(f"{t['columns_left_out']:,} columns of these are left out")
    if broken := [one for one in found if one.problem]:
        lines.append(f"{len(broken):,} files are no manifests")
    return lines


def _show(found: Sequence[Connector], console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, justify in (("connector", "left"), ("streams", "right"), ("load", "right")):
        table.add_column(title, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("left out for", overflow="fold")
    for one in found:
        wanted = ", ".join(name for name, _, _ in reasons([one]))
        said = one.problem or wanted or "[green]✓[/]"
        table.add_row(one.name, str(one.streams), str(len(one.loaded)), said)
    console.print(table)
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("reason", "streams", "connectors"):
        table.add_column(title, justify="left" if title == "reason" else "right")
    for name, n, m in reasons(found):
        table.add_row(f"{name}: {ABILITIES[name].title}", str(n), str(m))
    console.print(table)
    console.print()
    for line in summary(found):
        console.print(line, highlight=False)


def markdown(found: Sequence[Connector]) -> str:
    """The page ``docs/catalogue.md``."""
    lines = [
        "# What converts of a catalogue of connectors",
        "",
        f"What `python -m sourcetool catalogue` says of {len(found)} declarative manifests of",
        "Airbyte. A stream counts if its endpoint stands in the YAML and the YAML loads. How",
        "manifests become sources: [Import a source](how-to/import.md).",
        "",
        *(f"- {line}" for line in summary(found)),
        "",
        "## Why the others don't",
        "",
        "| what the YAML can't say | streams | connectors |",
        "| --- | --- | --- |",
        *(f"| {ABILITIES[name].title} (`{name}`) | {n} | {m} |" for name, n, m in reasons(found)),
        "",
        "## By connector",
        "",
        "| connector | streams | load | left out for |",
        "| --- | --- | --- | --- |",
    ]
    for one in found:
        wanted = ", ".join(name for name, _, _ in reasons([one]))
        lines.append(f"| {one.name} | {one.streams} | {len(one.loaded)} | {wanted} |")
    return "\n".join(lines)
