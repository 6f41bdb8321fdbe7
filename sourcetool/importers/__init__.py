"""From what others wrote to the YAML of a source: manifests, OpenAPI documents, curl, HAR files.

``documents`` tells what a document is. A declarative manifest of Airbyte goes through
``manifest`` (references, parameters), and ``airbyte`` has each of its components converted by the
module of its kind: ``auth``, ``requesters``, ``pagination``, ``increments``, ``fanout``,
``records``, ``filters``, ``schemas``, ``errors``; ``components`` says of each member of a component
what becomes of it. An endpoint in the making is a ``draft``. ``templates`` reads its Jinja into
``values`` (``simplified``; instants and durations by ``moments``), and ``texts`` writes these as
the YAML has them, with the connector's configuration as ``settings``; of ``literals`` those that
are credentials become settings, too. What the YAML can't say is an ability in ``abilities``. All
becomes what ``converted`` is: ``trial`` loads it, and ``render`` writes it; ``stubs`` are for
components in Python. ``openapi`` (``openapi_document``) and ``samples`` (``curl``, ``har``) make
the same.
"""
