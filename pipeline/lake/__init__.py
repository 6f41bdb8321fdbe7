"""S3: what objects there are, what they mean, and how a partition appears all at once.

``store`` (every S3 operation; ``s3errors``), ``swap`` (one object, by compare and swap), ``layout``
(names), ``manifest`` and ``checkpoint`` (data), ``parquet`` (files), ``commit``, ``attempt`` and
``publish`` (one try, and its end), ``partitions``, ``filesystem``, ``read``, ``readback``,
``rows``, ``late`` and ``schema_changes`` (what is committed), ``maintain`` (what dead tries have
left).
"""
