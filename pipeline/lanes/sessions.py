"""The credentials of each account: boto3's own chain, or a role that is assumed.

A role's session is renewed before it ends, by the first request that finds it so near; the others
wait for that one. An account whose role can't be assumed fails with the same sentence for each of
its lanes, without asking again in the run.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from pipeline.aws.regions import partition_of
from pipeline.config.lanes import LaneAccess
from pipeline.errors import ApiUnavailable, AuthError, ConfigError, HeadraceError, Permanent

OWN: Final = "self"
"""The account of the source's own credentials, in place of an id."""
Call = Callable[[str, str, str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Calls an operation: account, service, operation by AWS's name, parameters."""


@dataclass(frozen=True)
class _Assumed:
    credentials: ReadOnlyCredentials
    renew_at: datetime
    made_at: float


class AccountSessions:
    """The credentials that the requests of each account are signed with.

    :ivar secrets: all that came so far: no text may show them.
    """

    def __init__(
        self,
        access: LaneAccess,
        call: Call,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._access, self._call, self._now = access, call, now
        self._assumed: dict[str, _Assumed] = {}
        self._refused: dict[str, Permanent] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._base: dict[str | None, Credentials] = {}
        self._profiles: dict[str, str] = {}
        self.own_account = OWN
        self.secrets: set[str] = set()

    def use_profile(self, account: str, profile: str) -> None:
        """Sign the requests to an account with the credentials of a profile, and assume no role."""
        self._profiles[account] = profile

    async def credentials(self, account: str) -> ReadOnlyCredentials:
        """The credentials of an account, good for longer than a request waits.

        :raises AuthError: its role can't be assumed, or the source's own have expired.
        :raises ConfigError: there are none.
        """
        if account in (OWN, self.own_account) or account in self._profiles:
            return await self._base_of(self._profiles.get(account, self._access.profile))
        async with self._locks.setdefault(account, asyncio.Lock()):
            if error := self._refused.get(account):
                raise error
            known = self._assumed.get(account)
            if known is None or self._now() >= known.renew_at:
                known = self._assumed[account] = await self._assume(account)
            return known.credentials

    def drop_expired(self, account: str, left_at: float) -> bool:
        """Drop the session that AWS has called expired in its response to a request.

        :param left_at: when the request left, on the monotonic clock. A session that was opened
            since stays: several requests in flight are refused for the one before it.
        :return: whether the next request gets another session; the source's own can't be renewed.
        """
        if account in (OWN, self.own_account) or account in self._profiles:
            return False
        known = self._assumed.get(account)
        if known is not None and known.made_at <= left_at:
            del self._assumed[account]
        return True

    async def _assume(self, account: str) -> _Assumed:
        access = self._access
        if access.role is None:
            raise self._keep(account, AuthError(
                f"The account `{account}` is not the credentials' own ({self.own_account}), and no "
                "role is named to read it by: set `role`."
            ))  # fmt: skip
        params: dict[str, Any] = {
            "RoleArn": role_arn(access.role, account, access.home_region),
            "RoleSessionName": access.session_name,
            "DurationSeconds": access.session_s,
        }
        if access.external_id is not None and access.external_id.get_secret_value():
            params["ExternalId"] = access.external_id.get_secret_value()
        try:
            assumed = (await self._call(OWN, "sts", "AssumeRole", params))["Credentials"]
        except Permanent as error:
            raise self._keep(account, _not_assumed(params["RoleArn"], error)) from None
        ends: datetime = assumed["Expiration"]
        life = ends - self._now()
        credentials = ReadOnlyCredentials(
            assumed["AccessKeyId"], assumed["SecretAccessKey"], assumed["SessionToken"]
        )
        self.secrets |= {credentials.secret_key, str(credentials.token)}
        renew_at = ends - min(timedelta(seconds=access.renew_before_s), life / 2)
        return _Assumed(credentials, renew_at, monotonic())

    def _keep(self, account: str, error: Permanent) -> Permanent:
        self._refused[account] = error
        return error

    async def _base_of(self, profile: str | None) -> ReadOnlyCredentials:
        credentials = await asyncio.to_thread(self._frozen, profile)
        self.secrets |= {credentials.secret_key, str(credentials.token or credentials.secret_key)}
        return credentials

    def _frozen(self, profile: str | None) -> ReadOnlyCredentials:
        keys = self._access.keys
        if keys is not None and profile is None:
            token = keys.session_token.get_secret_value() if keys.session_token else ""
            return ReadOnlyCredentials(
                keys.access_key_id.get_secret_value(),
                keys.secret_access_key.get_secret_value(),
                token or None,
            )
        try:
            if profile not in self._base:
                session = Session(profile=profile)
                # The lake's endpoint is none of those that give credentials out.
                session.set_config_variable("ignore_configured_endpoint_urls", True)
                credentials = session.get_credentials()
                if credentials is None:
                    raise ConfigError(
                        "No credentials of AWS were found. Check: 1. AWS_PROFILE, or `profile`; 2. "
                        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; 3. the role of the machine."
                    )
                self._base[profile] = credentials
            frozen: ReadOnlyCredentials = self._base[profile].get_frozen_credentials()
            return frozen
        except (BotoCoreError, ClientError, OSError) as error:
            raise _unusable(profile or os.environ.get("AWS_PROFILE", ""), error) from None


def _unusable(profile: str, error: Exception) -> HeadraceError:
    """The error for credentials that botocore could not get."""
    named = f"of the profile `{profile}` " if profile else ""
    text = f"The credentials of AWS {named}can't be used"
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "unknown")
        refused = f"{text}: {error.operation_name} was refused with {code}"
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            return ApiUnavailable(refused)
        return AuthError(
            f"{refused}. Check: 1. `role_arn` of the profile; 2. that the role's trust policy "
            "names who asks; 3. the credentials of `source_profile`; 4. if they are of single "
            "sign-on: `aws sso login`."
        )
    if isinstance(error, OSError):
        return AuthError(
            f"{text}: `{error.filename}` can't be read ({error.strerror}). Check "
            "`web_identity_token_file` of the profile, or AWS_WEB_IDENTITY_TOKEN_FILE."
        )
    return AuthError(
        f"{text} ({type(error).__name__}: {error}). If they are of single sign-on: `aws sso login`."
    )


def role_arn(role: str, account: str, region: str) -> str:
    """The ARN of a role in an account: ``role`` is its name, or an ARN with ``{account_id}``."""
    if role.startswith("arn:"):
        return role.replace("{account_id}", account)
    return f"arn:{partition_of(region)}:iam::{account}:role/{role}"


def _not_assumed(arn: str, error: HeadraceError) -> AuthError:
    refusal = AuthError(
        f"The role `{arn}` can't be assumed: {error}. Check: 1. that it exists in this account; 2. "
        "that its trust policy names who asks; 3. `external_id`"
    )
    refusal.code = f"AssumeRole:{error.code}" if error.code else "AssumeRole"
    return refusal
