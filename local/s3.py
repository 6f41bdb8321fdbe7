"""An S3 endpoint as plain values: where it is, who calls it, and the settings that say so."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import boto3
from botocore.config import Config

REGION = "us-east-1"


@dataclass(frozen=True)
class Identity:
    """Somebody whom the local S3 server knows, and what they may do in every bucket."""

    name: str
    access_key: str
    secret_key: str
    actions: tuple[str, ...] = ("Admin", "Read", "Write", "List", "Tagging")

    @classmethod
    def reader(cls, access_key: str, secret_key: str) -> "Identity":
        return cls("reader", access_key, secret_key, ("Read", "List"))

    def as_config(self) -> dict[str, Any]:
        """The form of an entry under `identities` in SeaweedFS' s3.json."""
        return {
            "name": self.name,
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": list(self.actions),
        }


@dataclass(frozen=True)
class S3:
    endpoint_url: str
    access_key: str
    secret_key: str
    region: str = REGION

    def env(self) -> dict[str, str]:
        """boto3's own variables, and no others, for a child's environment."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def acting_as(self, identity: Identity) -> "S3":
        return replace(self, access_key=identity.access_key, secret_key=identity.secret_key)

    def client(self, *, timeout_s: float = 10.0, attempts: int = 1) -> Any:
        """A boto3 client that fails fast: the server is on this machine."""
        config = Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": "path"},
            proxies={},
        )
        session = boto3.session.Session(
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
        )
        return session.client("s3", endpoint_url=self.endpoint_url, config=config)


def child_env(*additions: Mapping[str, str]) -> dict[str, str]:
    """Our environment for a child: no AWS settings of the user's own, no proxy on loopback."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    for addition in additions:
        env |= addition
    return env
