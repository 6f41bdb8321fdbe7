"""The lake as Arrow's own file system: it reads columns and row groups without boto3."""

from typing import Any
from urllib.parse import urlsplit

from pyarrow.fs import FileSystem, S3FileSystem

from pipeline.lake.s3 import Lake


def filesystem(lake: Lake) -> FileSystem:
    """Arrow's own S3 client with the endpoint and credentials that boto3 has found.

    It does not renew temporary credentials: make one for each reading.
    """
    client = lake.client
    # boto3 has no public way to ask a client for them; every bridge from boto3 goes this way.
    credentials = client._request_signer._credentials
    region = client.meta.region_name
    region = "us-east-1" if region in (None, "aws-global") else region  # boto3's name for *unset*
    options: dict[str, Any] = {"region": region, "anonymous": credentials is None}
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        options |= {"access_key": frozen.access_key, "secret_key": frozen.secret_key}
        options |= {"session_token": frozen.token, "anonymous": False}
    endpoint = urlsplit(client.meta.endpoint_url)
    if not (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
        style = (client.meta.config.s3 or {}).get("addressing_style")
        options["force_virtual_addressing"] = style == "virtual"
    return S3FileSystem(**options)
