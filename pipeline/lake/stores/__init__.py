"""The family *object store*: where a lake's objects lie, one file a kind.

``base`` (what every kind can do, with an example of a new kind; from ``HEADRACE_LAKE`` to a store),
``s3`` (the S3 kind), ``s3_errors`` (its errors as the engine's).
"""

# The kinds that ship; importing a store's module registers it.
from pipeline.lake.stores import s3

__all__ = ["s3"]
