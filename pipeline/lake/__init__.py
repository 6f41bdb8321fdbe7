"""The lake: which objects there are, what they mean, and how a partition appears all at once.

``stores`` (where the objects lie: S3 and other kinds), ``s3`` (the name that readers import),
``paths`` (names), ``compare_and_swap`` (one object, on a condition), ``manifest`` and
``checkpoint`` (data), ``parquet`` (files), ``uploads`` (files on their way), ``attempt`` (take
over, stage, commit), ``carry_out`` (the end of a commit, and the clean-up), ``index`` (the
manifests that a run knows), ``manifest_archive`` (all of an endpoint, in one object), ``integrity``
(whether what is committed is still there), ``common_schema`` (of partitions that are read
together), ``read`` and ``current_rows`` (committed rows), ``drop`` (take a partition out),
``maintenance`` (what dead attempts have left).
"""
