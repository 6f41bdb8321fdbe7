"""The lake: a folder of an S3 bucket, through dagster-aws's ``S3Resource``."""

import dagster as dg
from dagster_aws.s3 import S3Resource

from pipeline.lake.store import Lake


class LakeResource(dg.ConfigurableResource["LakeResource"]):
    """Where partitions are committed.

    :ivar url: ``s3://bucket/prefix``.
    :ivar s3: credentials, region and endpoint; what it leaves open is boto3's to find
        (``AWS_ENDPOINT_URL_S3``, ``AWS_ACCESS_KEY_ID``, profiles, roles, …).
    """

    url: str
    s3: S3Resource

    def open(self) -> Lake:
        """Look whether it is there.

        :raises LakeRefused: no such bucket, or no permission. :raises LakeUnavailable: no answer.
        """
        lake = Lake(self.s3.get_client(), self.url)
        lake.check()
        return lake
