"""deploy/Dockerfile, as far as a test goes without Docker: its instructions, and what it copies."""

import compileall
import json
import re
import shlex
import shutil
from pathlib import Path

from tests.deploy.compose import DEPLOY, ROOT

DOCKERFILE = DEPLOY / "Dockerfile"
IGNORE_FILE = DEPLOY / "Dockerfile.dockerignore"
WORKDIR = "/opt/headrace"


def instructions() -> list[tuple[str, str]]:
    """(instruction, the rest of it) in order; continued lines are joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    joined = text.replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(first, " ".join(rest.split())) for first, rest in lines]


def command_of(text: str) -> list[str]:
    """The arguments of a CMD in its JSON form."""
    return [str(argument) for argument in json.loads(text)]


def sent() -> set[str]:
    """The paths that reach the build: all others are ignored."""
    lines = IGNORE_FILE.read_text().splitlines()
    return {line[1:] for line in lines if line.startswith("!")}


def copies() -> list[tuple[list[str], str]]:
    """(sources in the clone, target in the image) of each COPY."""
    found = [shlex.split(rest) for instruction, rest in instructions() if instruction == "COPY"]
    return [(paths[:-1], paths[-1]) for paths in found]


def build(folder: Path) -> None:
    """The image's files: ``/opt`` of the image is ``folder``. Nothing is installed."""
    for sources, target in copies():
        for source in sources:
            assert any(source == one or source.startswith(f"{one}/") for one in sent()), source
            end = Path(WORKDIR, target)
            into = folder / end.relative_to("/opt")
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, into, ignore=ignored)
            else:
                into = into / Path(source).name if target.endswith("/") else into
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / source, into)
    assert compileall.compile_dir(folder, quiet=1, workers=0)


def built(folder: Path) -> Path:
    """The image's ``/opt/headrace`` in a folder: built there by whoever comes first."""
    if not folder.exists():
        build(folder)
    return folder / "headrace"
