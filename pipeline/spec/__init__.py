"""What an API is, as data: one frozen, validated ``Source`` a YAML file.

``source`` holds the whole, ``endpoint`` one collection of rows, ``request`` how it is asked,
``paging`` how its pages follow each other, ``auth`` who asks, ``limits`` how fast; ``model`` is
what all of these are built on, ``fitting`` whether the parts of an endpoint fit together. ``load``
reads the YAML (``yaml_lines``), puts ``settings`` in and turns each mistake into one sentence with
file and line; ``hints`` say what a wrong key may have meant. ``schema`` describes the YAML to an
editor.
"""

from pipeline.spec.endpoint import Endpoint
from pipeline.spec.load import load_source, load_sources
from pipeline.spec.source import Source

__all__ = ["Endpoint", "Source", "load_source", "load_sources"]
