"""``./headrace``: one command line to see a lake, query it, and load it.

``lake_table`` (``lake``: what is committed), ``query`` (SQL over the committed files), ``verify``
(whether the committed files are what they were), ``state`` (what is kept, and how to take it back),
``dagster_runs`` (``load``, ``sweep``, ``backfill``, ``sync``: Dagster's commands with a quiet log),
``choice`` (what a command names, held against the YAML before Dagster starts).
Each is a thin layer over what the engine and the assets do. Exit codes: 0 all is well, 1 the answer
is no (a run failed, nothing is committed), 2 the command can't be done as it stands.
"""
