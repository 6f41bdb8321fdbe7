"""S3: what objects there are, what they mean, and how a partition appears all at once.

``s3`` (every S3 operation; ``s3_errors``), ``compare_and_swap`` (one object, by compare and swap),
``paths`` (names), ``manifest`` and ``checkpoint`` (data), ``parquet`` (files), ``open_attempt``,
``attempt`` and ``publish`` (one try, and its end), ``partition_range``, ``filesystem``, ``read``,
``manifest_queries``, ``current_rows``, ``late_rows`` and ``schema_changes`` (what is committed),
``maintenance`` (what dead tries have left).
"""
