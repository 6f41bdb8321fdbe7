"""A run: partitions of one source, from their windows to their results.

In the order in which they work: ``context`` (what all of a run shares, and what comes of a
partition), ``runner`` (endpoints side by side, the partitions of each in order), ``partition`` (the
way of one partition), ``resume`` (where an attempt starts, and whether its request is conditional),
``bookmarks`` (where a partition starts whose cursor is no time, and what is gone since),
``values`` (the values that an endpoint is read for, with their watermarks), ``stale_rows`` (of
lanes that could not be read), ``writer`` (pages to files on S3), ``partition_progress`` (what the
checkpoint has beside these), ``staged_partition`` and ``verify`` (read back, one row a key, and
committed), ``child_tables`` (lists in its rows, taken out into tables), ``late`` (its late rows),
``partition_warnings`` (what a person should look at), ``other_runs`` (lost races, and neighbours),
``deletions`` (keys that are gone from the source).
"""
