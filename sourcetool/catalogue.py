"""``catalogue``: of a folder of manifests, what converts and loads, and why the rest does not."""

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.errors import ConfigError
from sourcetool.importers.abilities import ABILITIES, Need
from sourcetool.importers.airbyte import convert
from sourcetool.importers.manifest import NoManifest, read_manifest
from sourcetool.importers.trial import tried
from sourcetool.show import print_refusal

_ENDINGS = (".yaml", ".yml", ".json")
_WIDTH = 115
"""Of a line of the page: so many characters at most."""


@dataclass
class Connector:
    """The result of converting and loading one manifest.

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
        return any(need.ability == "python" for needs in self.left_out.values() for need in needs)

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
    outcome = Connector(file.stem)
    try:
        manifest = read_manifest(file)
    except NoManifest as error:
        outcome.problem = str(error)
        return outcome
    converted = convert(manifest)
    outcome.streams = len(converted.streams) + len(converted.left_out)
    try:
        tried(converted, f"the manifest {file.name}")
    except ConfigError as error:
        reason = Need("loader", "loader", str(error).splitlines()[0].partition(": ")[2])
        for stream in converted.streams:
            converted.left_out[stream] = [reason]
        converted.streams.clear()
    outcome.loaded = list(converted.streams)
    outcome.left_out = converted.left_out
    outcome.columns = sum(map(len, converted.omitted.values()))
    return outcome


def catalogue(folder: str, form: str, console: Console) -> int:
    """Print the table; 2 if the folder has no manifests.

    :param form: ``table``, ``json`` or ``markdown``.
    """
    files = sorted(manifest for manifest in Path(folder).glob("*") if manifest.suffix in _ENDINGS)
    if not files:
        endings = ", ".join(_ENDINGS)
        print_refusal(
            console, f"{folder}: expected a folder with manifests ({endings}), found none"
        )
        return 2
    connectors = [connector(file) for file in files]
    if form == "json":
        console.out(json.dumps(_json(connectors), indent=2, ensure_ascii=False), highlight=False)
    elif form == "markdown":
        console.out(markdown(connectors), highlight=False)
    else:
        _show(connectors, console)
    return 0


def reasons(connectors: Sequence[Connector]) -> list[tuple[str, int, int]]:
    """Each ability that is wanted, in how many streams and connectors; the commonest first."""
    by_stream, by_connector = Counter[str](), Counter[str]()
    for manifest in connectors:
        sets = [{need.ability for need in needs} for needs in manifest.left_out.values()]
        by_stream.update(ability for abilities in sets for ability in abilities)
        by_connector.update(set().union(*sets))
    rows = [(name, n, by_connector[name]) for name, n in by_stream.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def totals(connectors: Sequence[Connector]) -> dict[str, int]:
    """The figures of all manifests."""
    real = [manifest for manifest in connectors if not manifest.problem]
    python = sum(
        any(need.ability == "python" for need in needs)
        for manifest in real
        for needs in manifest.left_out.values()
    )
    return {
        "files": len(connectors),
        "connectors": len(real),
        "connectors_whole": sum(manifest.whole for manifest in real),
        "connectors_with_own_python": sum(manifest.own_python for manifest in real),
        "streams": sum(manifest.streams for manifest in real),
        "streams_loaded": sum(len(manifest.loaded) for manifest in real),
        "streams_with_own_python": python,
        "columns_left_out": sum(manifest.columns for manifest in real),
    }


def _json(connectors: Sequence[Connector]) -> dict[str, Any]:
    return {
        "totals": totals(connectors),
        "reasons": [
            {"ability": name, "title": ABILITIES[name].title, "streams": n, "connectors": m}
            for name, n, m in reasons(connectors)
        ],
        "connectors": [manifest.to_json() for manifest in connectors],
    }


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def summary(connectors: Sequence[Connector]) -> list[str]:
    """The figures in words."""
    t = totals(connectors)
    plain = t["streams"] - t["streams_with_own_python"]
    without_python = t["connectors"] - t["connectors_with_own_python"]
    lines = [
        f"{t['streams_loaded']:,} of {t['streams']:,} streams convert and load: "
        f"{_percent(t['streams_loaded'], plain)} of the {plain:,} without Python of their own",
        f"{t['connectors_whole']:,} of {t['connectors']:,} connectors do so whole: "
        f"{_percent(t['connectors_whole'], without_python)} of the {without_python:,} without "
        "Python of their own",
    ]
    if t["columns_left_out"]:
        lines.append(f"{t['columns_left_out']:,} columns of these are left out")
    if broken := [connector_ for connector_ in connectors if connector_.problem]:
        lines.append(f"{len(broken):,} files are no manifests")
    return lines


def _show(connectors: Sequence[Connector], console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, justify in (("connector", "left"), ("streams", "right"), ("load", "right")):
        table.add_column(title, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("left out for", overflow="fold")
    for manifest in connectors:
        wanted = ", ".join(name for name, _, _ in reasons([manifest]))
        verdict = manifest.problem or wanted or "[green]✓[/]"
        table.add_row(manifest.name, str(manifest.streams), str(len(manifest.loaded)), verdict)
    console.print(table)
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("reason", "streams", "connectors"):
        table.add_column(title, justify="left" if title == "reason" else "right")
    for name, n, m in reasons(connectors):
        table.add_row(f"{name}: {ABILITIES[name].title}", str(n), str(m))
    console.print(table)
    console.print()
    for line in summary(connectors):
        console.print(line, highlight=False)


def markdown(connectors: Sequence[Connector]) -> str:
    """The page ``docs/catalogue.md``."""
    lines = [
        "# What converts of a catalogue of connectors",
        "",
        f"What `python -m sourcetool catalogue` says of {len(connectors)} declarative manifests of",
        "Airbyte. A stream counts if its endpoint stands in the YAML and the YAML loads. How",
        "manifests become sources: [Import a source](how-to/import.md).",
        "",
        *(f"- {line}" for line in summary(connectors)),
        "",
        "## Why the others don't",
        "",
        "| what the YAML can't say | streams | connectors |",
        "| --- | --- | --- |",
        *(
            f"| {ABILITIES[name].title} (`{name}`) | {n} | {m} |"
            for name, n, m in reasons(connectors)
        ),
        "",
        "## Connectors that convert in part, or not",
        "",
        "| connector | streams | load | left out for |",
        "| --- | --- | --- | --- |",
    ]
    for manifest in connectors:
        if not manifest.whole:
            wanted = ", ".join(name for name, _, _ in reasons([manifest]))
            lines.append(
                f"| {manifest.name} | {manifest.streams} | {len(manifest.loaded)} | {wanted} |"
            )
    whole = [f"{each.name} ({each.streams})" for each in connectors if each.whole]
    names = textwrap.wrap(", ".join(whole), _WIDTH, break_on_hyphens=False, break_long_words=False)
    lines += [
        "",
        "## Connectors that convert whole",
        "",
        "With the number of their streams:",
        "",
        *names,
    ]
    return "\n".join(lines)
