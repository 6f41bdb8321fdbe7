"""From what others wrote to the YAML of a source: manifests, OpenAPI documents, curl, HAR files.

``documents`` tells what a document is. A declarative manifest of Airbyte goes through ``manifest``
(references, parameters), and ``airbyte`` has each of its components converted by the module of
its kind: ``auth``, ``requesters``, ``pagination``, ``increments``, ``fanout``, ``records``,
``schemas``, ``errors``. ``templates`` reads its Jinja into ``values``, and ``texts`` writes these
as the YAML has them. What the YAML can't say is an ability in ``abilities``. ``trial`` loads the
result, and ``render`` writes it. ``openapi`` and ``samples`` (``curl``, ``har``) make the same
``Converted``.
"""
