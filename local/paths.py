"""Where things are in this clone. Everything that is made by running is under `.local/`."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
DEMO_LAKE = STATE / "demo" / "lake"
UI_STATE = STATE / "ui"
INSTANCE_TEMPLATE = ROOT / "dagster.yaml"
DEFAULT_HOME = ROOT / ".dagster"


@contextmanager
def passing_folder(prefix: str) -> Iterator[Path]:
    """A new folder under `.local/` that stays only when something failed: for its logs."""
    STATE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=STATE))
    try:
        yield folder
    except Exception:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
