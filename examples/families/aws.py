"""AWS's Signature Version 4, by botocore: an auth of one's own (``kind: python``)."""

from collections.abc import Generator

import botocore.session
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest


class SignatureV4(httpx.Auth):
    """Signs each request with the credentials that boto3 finds: variables, profiles, roles."""

    requires_request_body = True

    def __init__(self, service: str, region: str) -> None:
        self._service, self._region = service, region
        self._session = botocore.session.get_session()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        signed = AWSRequest(
            method=request.method,
            url=str(request.url),
            data=request.content,
            headers={
                name: value
                for name, value in request.headers.items()
                if name.startswith("x-amz-") or name == "content-type"
            },
        )
        credentials = self._session.get_credentials().get_frozen_credentials()
        SigV4Auth(credentials, self._service, self._region).add_auth(signed)
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Security-Token"):
            if name in signed.headers:
                request.headers[name] = signed.headers[name]
        yield request
