"""Whether a converted source loads: what the loader refuses is left out, with its sentence."""

import re
import tempfile
from pathlib import Path

from pipeline.config import load_source
from pipeline.errors import ConfigError
from sourcetool.importers.abilities import Need
from sourcetool.importers.converted import Converted
from sourcetool.importers.render import render

_ENDPOINT = re.compile(r"^[^:]*:\d+: (?:endpoints\.(\w+)|.*\bendpoint (\w+):)")
_ADDRESS = re.compile(r"\b(?:base_url|token_url): ['\"]?\$\{(\w+)\}(?!\.)")
_SAMPLE_URL = "https://api.example.com"


class NothingSaid(ConfigError):
    """No endpoint is left. ``converted`` says why."""

    def __init__(self, text: str, converted: Converted) -> None:
        super().__init__(text)
        self.converted = converted


def tried(converted: Converted, origin: str) -> str:
    """The YAML's text, which loads; what would not is taken out of ``converted``.

    :raises ConfigError: the source itself is refused, or nothing is left of it.
    """
    while converted.data["endpoints"]:
        text = render(converted, origin)
        refused = _refused(text, converted)
        if not refused:
            return text
        for endpoint, sentence in refused.items():
            converted.leave_out(endpoint, Need("loader", "loader", sentence))
    raise NothingSaid(
        f"nothing of {origin} can be said in the YAML: {_most_common(converted)}", converted
    )


def _refused(text: str, converted: Converted) -> dict[str, str]:
    """The sentence on each endpoint that is refused."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "source.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            load_source(file, sample_settings(text, converted))
        except ConfigError as error:
            sentences: dict[str, str] = {}
            for line in str(error).splitlines():
                named = _ENDPOINT.match(line)
                name = next((part for part in named.groups() if part), "") if named else ""
                if name not in converted.data["endpoints"]:
                    raise
                sentences.setdefault(name, line.partition(": ")[2])
            return sentences
    return {}


def sample_settings(text: str, converted: Converted) -> dict[str, str]:
    """A made-up value for each setting that has to be there."""
    named = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "sample")
    values = named | {k: v for k, v in converted.settings.samples.items() if k in named}
    values[converted.settings.variable(("start",))] = "2024-01-01"
    for name in _ADDRESS.findall(text):
        if not values.get(name, "").startswith("http"):
            values[name] = _SAMPLE_URL
    return values


def _most_common(converted: Converted) -> str:
    reasons = [need.reason for needs in converted.left_out.values() for need in needs]
    if not reasons:
        return "it has no streams"
    return max(dict.fromkeys(reasons), key=reasons.count)
