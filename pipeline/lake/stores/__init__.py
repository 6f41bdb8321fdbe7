"""The family *object store*: where a lake's objects lie, one file a kind.

``base`` (what every kind can do, with an example of a new kind), ``s3`` (the S3 kind) and
``s3_errors`` (S3's errors as the engine's), ``s3_logs`` (no credentials in boto's logs),
``registry`` (from ``HEADRACE_LAKE`` to a store).
"""

from pipeline.lake.stores import s3 as s3  # registers itself
