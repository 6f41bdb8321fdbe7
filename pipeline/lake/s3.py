"""The lake on S3, as a reader's own program opens it: ``Lake(boto3.client("s3"), "s3://…")``.

A program that need not know which kind of store the lake lies in calls
`pipeline.lake.stores.base.open_lake`.
"""

from pipeline.lake.stores.s3 import S3Store as Lake

__all__ = ["Lake"]
