"""JSON to Arrow: faithful or refused, the same from page to page and from day to day. No I/O.

In the order in which a body goes: ``shape`` (how an endpoint's pages look), ``types`` (declared
columns), ``body_checks`` (what a body may be), ``fast_path`` (the fast way), ``exact_json``,
``exact_path`` and ``coerce`` (the lossless one, cell by cell), ``type_lattice`` (inferred columns),
``reader`` (ties them together), ``schema_text`` (a schema as text).
"""
