"""Where things are in this clone. Everything that is made by running is under `.local/`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
DEMO_LAKE = STATE / "demo" / "lake"
UI_STATE = STATE / "ui"
INSTANCE_TEMPLATE = ROOT / "dagster.yaml"
DEFAULT_HOME = ROOT / ".dagster"
