"""Partitions: intervals of a cursor, and the window of it that each of them requests. Pure.

``base`` (what a scheme is: the family's base and registry), ``days`` (the kind that there is),
``calendar`` (the partitions of one source: a scheme from a start, in a time zone), ``window`` (the
window of a partition), ``bookmark`` (where a partition ended, in the API's own terms).

A new kind is one file like ``days``, imported here.
"""

# Each kind registers itself.
from pipeline.partitions import days
from pipeline.partitions.base import SCHEMES, PartitionScheme
from pipeline.partitions.calendar import Calendar

__all__ = ["SCHEMES", "Calendar", "PartitionScheme", "days"]
