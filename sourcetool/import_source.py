"""``new --from`` and ``new --curl``: the YAML of a source from a document or a command."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipeline.errors import ConfigError
from sourcetool.check import as_asked_for
from sourcetool.importers.converted import Converted
from sourcetool.importers.documents import import_curl, import_document
from sourcetool.importers.stubs import stubs
from sourcetool.importers.trial import NothingSaid
from sourcetool.show import print_refusal


def import_source(
    document: str | None,
    command: str | None,
    name: str | None,
    folder: str,
    only: Sequence[str],
    console: Console,
) -> int:
    """Write ``folder/name.yaml``; 0, or 2 if nothing could be proposed."""
    try:
        if document:
            converted, text = import_document(Path(document), name, only)
        else:
            converted, text = import_curl(command or "", name)
        file = Path(folder) / f"{converted.name}.yaml"
        if file.exists():
            raise ConfigError(f"{file} is there already: take it away, or give another --name")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except NothingSaid as error:
        print_refusal(console, str(error))
        _write_stubs(error.converted, Path(folder), console)
        return 2
    except ConfigError as error:
        print_refusal(console, str(error))
        return 2
    _show(converted, file, console)
    _write_stubs(converted, file.parent, console)
    return 0


def _write_stubs(converted: Converted, folder: Path, console: Console) -> None:
    """A module for the components in Python, beside the YAML; one that is there stays."""
    file = folder / f"{converted.name}_components.py"
    text = stubs(converted, f"{folder.name}.{file.stem}")
    if not text:
        return
    if file.exists():
        console.print(f"  [yellow]?[/] {escape(str(file))} is there, and stays", highlight=False)
        return
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    console.print(
        f"  [green]✓[/] {escape(str(file))} says what its components in Python have to do",
        highlight=False,
    )


def _show(converted: Converted, file: Path, console: Console) -> None:
    total = len(converted.streams) + len(converted.left_out)
    console.print(
        f"[green]✓[/] {file}: {len(converted.streams)} of {total} endpoints. Next: set "
        f"{', '.join(_settings(converted, file)) or 'nothing'}, then make check-source "
        f"SOURCE={as_asked_for(file, converted.name)}",
        highlight=False,
    )
    reasons = Counter(
        need.reason for needs in converted.left_out.values() for need in dict.fromkeys(needs)
    )
    for reason, n in reasons.most_common():
        console.print(f"  [red]–[/] {n} left out: {escape(reason)}", highlight=False)
    for doubt, n in Counter(
        d for doubts in converted.doubts.values() for d in doubts
    ).most_common():
        times = f"{n} × " if n > 1 else ""
        console.print(f"  [yellow]?[/] {times}{escape(doubt)}", highlight=False)


def _settings(converted: Converted, file: Path) -> list[str]:
    """The settings that have no default."""
    text = file.read_text("utf-8")
    names = [converted.settings.variable(("start",)), *converted.settings.used]
    return [name for name in dict.fromkeys(names) if f"${{{name}}}" in text]
