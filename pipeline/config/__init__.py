"""What an API is, as data: one frozen, validated ``Source`` a YAML file.

``source`` holds the whole, ``endpoint`` one collection of rows, ``request`` how it is asked,
``each`` for which values (``row_filter``: of which rows), ``columns`` what lands, ``limits`` how
fast, ``budgets`` together with which others, ``network`` by which way; ``validation`` says whether
the parts of an endpoint fit together. How pages follow each other is ``pipeline.pagination``'s.
``folders`` loads all of them, each by itself. ``loader`` reads the YAML (``yaml_lines``), puts
``settings`` in and turns each mistake into one sentence with file and line; ``hints`` say what a
wrong key may have meant.
``json_schema`` describes the YAML to an editor. ``aws_source`` is the YAML of the kind ``aws``, and
``lanes`` what the engine knows of it: accounts and regions, each with a session of its own.
"""

from pipeline.config.endpoint import Endpoint
from pipeline.config.folders import BrokenSource, LoadedSources, load_all, load_sources
from pipeline.config.loader import load_source
from pipeline.config.source import Source

__all__ = [
    "BrokenSource",
    "Endpoint",
    "LoadedSources",
    "Source",
    "load_all",
    "load_source",
    "load_sources",
]
