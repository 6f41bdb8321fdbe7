"""For who writes a source: look at an API through its YAML, or propose the YAML of an API.

``look`` fetches a few pages as a run would, ``doubts`` judges what came, ``show`` prints it;
``guess`` reads one answer, ``propose`` writes the YAML. It imports ``resources`` and ``pipeline``,
and nothing imports it.
"""
