"""A run: partitions of one source, from their windows to their results.

``context`` (what all of it shares, and what comes of a partition), ``resume`` (where an attempt
starts), ``partition`` (one partition of one endpoint: pages to batches), ``parents`` (children of
rows), ``fingerprint`` (what an earlier attempt's rows must share with this one's), ``row_buffer``
and ``writer`` (pages to files on S3), ``conditional`` (304s), ``verify`` and ``staged_partition``
(read back, and committed), ``adjacency`` (days side by side), ``lost_race`` (a lost race),
``runner`` (all of them, side by side), ``deletions`` (deletes).
"""
