"""The description of an API as data: one frozen, validated ``Source`` a YAML file.

``source`` holds the whole, with its way through the network, ``endpoint`` one collection of rows,
``request`` its request, ``each`` its values, ``columns`` the columns that land and conditions on
rows, ``tables`` the tables of lists in its rows, ``limits`` the pace; ``validation`` says whether
the parts of an endpoint fit together. It, ``each``, ``columns`` and ``tables`` check an endpoint as
a whole, so they know its type (for the type checker alone), and ``endpoint`` calls them: the one
circle of the package. How pages follow each other is ``pipeline.pagination``'s.
``folders`` loads all sources, each by itself, and finds those that share a budget; of one that
can't be loaded ``broken_source`` has what is shown in its place.
``loader`` reads the YAML (``yaml_lines``), puts ``settings``
in and turns each mistake into one sentence with file, line and a hint for a wrong key.
``json_schema`` describes the YAML to an editor. ``aws_source`` is the YAML of the kind ``aws``, and
``lanes`` what the engine knows of it: accounts and regions, each with a session of its own.
"""

from pipeline.config.broken_source import BrokenSource
from pipeline.config.endpoint import Endpoint
from pipeline.config.folders import LoadedSources, load_all
from pipeline.config.loader import load_source
from pipeline.config.source import Source

__all__ = [
    "BrokenSource",
    "Endpoint",
    "LoadedSources",
    "Source",
    "load_all",
    "load_source",
]
