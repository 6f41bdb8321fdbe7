"""The lake: which objects there are, what they mean, and how a partition appears all at once.

``stores`` (where the objects lie: S3 and other kinds), ``s3`` (the name that readers import),
``paths`` (names), ``compare_and_swap`` (one object, on a condition), ``manifest`` and
``checkpoint`` (data), ``parquet`` (files), ``attempt`` (take over, stage, commit, carry out),
``clean_up`` (what is in nobody's use), ``index`` (the manifests that a run knows), ``read`` and
``current_rows`` (committed rows), ``maintenance`` (what dead attempts have left).
"""
