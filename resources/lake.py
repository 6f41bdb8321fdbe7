"""The lake: a folder of an object store; on S3, through dagster-aws's ``S3Resource``."""

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from pipeline.lake.stores.base import ObjectStore, open_lake


class LakeResource(dg.ConfigurableResource["LakeResource"]):
    """The object store that partitions are committed in.

    What ``s3`` leaves open (credentials, region, endpoint) boto3 finds by itself:
    ``AWS_ENDPOINT_URL_S3``, ``AWS_ACCESS_KEY_ID``, profiles, roles, ….
    """

    url: str = Field(description="s3://bucket/prefix")
    s3: S3Resource

    def open(self) -> ObjectStore:
        """The lake, once S3 has said that it is there.

        :raises LakeRefused: no such bucket, or no permission.
        :raises LakeUnavailable: the store does not respond.
        """
        lake = open_lake(self.url, {"s3": self.s3.get_client})
        lake.check()
        return lake
