"""A run: partitions of one source, from their windows to their receipts.

``begin`` (where a try starts), ``partition`` (one partition of one endpoint: pages to batches),
``parents`` (children of rows), ``definition`` (what an earlier try's rows must share with this
one's), ``batch`` and ``landing`` (pages to files on S3), ``conditional`` (304s), ``verify`` and
``staged`` (read back, and committed), ``joined`` (days side by side), ``winner`` (a lost race),
``source`` (all of them, side by side), ``sweep`` (deletes).
"""
