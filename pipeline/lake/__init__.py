"""The lake: which objects there are, what they mean, and how a partition appears all at once.

``stores`` (where the objects lie: S3 and other kinds), ``s3`` (the name that readers import),
``paths`` (names), ``manifest`` and ``checkpoint`` (data), ``parquet`` (files, and the schema of
partitions that are read together), ``takeover`` and ``attempt`` (take over, stage, commit),
``commit`` (files on their way, the end of a commit, the clean-up), ``index`` (the manifests that a
run knows, and all of an endpoint in one object), ``damage`` (committed files that are not what
their manifest says), ``files`` (their rows), ``read``, ``partition_choice`` and ``current_rows``
(committed rows, as users read them), ``drop`` (take a partition out), ``maintenance`` (leftovers of
dead attempts), ``budget_record`` (the budgets that a lake's runs use).
"""
