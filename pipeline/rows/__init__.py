"""JSON to Arrow: faithful or refused, the same from page to page and from day to day. No I/O.

In the order in which a body goes: ``shape`` (how an endpoint's pages look), ``types`` (declared
columns), ``guard`` (what a body may be), ``strict`` (the fast way), ``exactjson``, ``exact`` and
``repair`` (the lossless one, cell by cell), ``evolve`` (inferred columns), ``reader`` (ties them
together), ``columns`` (a schema as text).
"""
