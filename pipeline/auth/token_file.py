"""A refresh token that is good once, kept in a file from run to run, for all processes that use it.

An endpoint that rotates refresh tokens (RFC 6749, 6; QuickBooks, Xero) takes each of them once, and
gives the next one with the access token. Two processes that renew at the same time would burn the
same one. So one process at a time renews, under a lock on the file that dies with the process; the
others take what it has written. The new refresh token is on the disk before the access token
is used.
"""

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import ApiUnavailable, ConfigError, machine_problem

_LOOK_S: Final = 0.05
_WARNED_S: Final = 30.0
_LONGEST_S: Final = 300.0
"""For which a process waits for another one that renews."""
_HELD: Final = (
    "another process has renewed the refresh token for {waited_s:g} s: it holds the lock `{file}`. "
    "Check: 1. which one, by `fuser {file}`; 2. whether it is stopped (Ctrl-Z, `docker pause`): "
    "let it go on, or end it"
)
log = logging.getLogger("headrace.auth")


@dataclass(frozen=True, repr=False)
class KeptToken:
    """The content of a file.

    :ivar refresh: the refresh token that the endpoint takes next.
    :ivar access: the access token that came with it.
    :ivar good_until: of the access token, seconds since 1970.
    """

    refresh: str
    access: str
    good_until: float


class TokenFile:
    """The file of one source's tokens.

    :param folder: of this user alone; made if it is not there.
    :param of: what the tokens belong to: another refresh token in the YAML begins anew.
    """

    def __init__(self, folder: str, of: tuple[str, ...]) -> None:
        self.folder = Path(folder).expanduser()
        name = hashlib.sha256("\0".join(of).encode()).hexdigest()[:32]
        self._file = self.folder / f"{name}.json"
        self._lock = self.folder / f"{name}.lock"

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While this holds, no other process renews.

        :raises ConfigError: the folder can't be used, or others may read it. The token is not spent
            then.
        :raises ApiUnavailable: another process renews for longer than five minutes.
        """
        self._prepare()
        with self._trouble():
            lock = _for_me_alone(str(self._lock), os.O_RDWR | os.O_CREAT)
        try:
            with self._trouble():
                await _locked(lock, self._lock)
            yield
        finally:
            os.close(lock)

    def read(self) -> KeptToken | None:
        """The stored token; None if there is none.

        :raises ConfigError: the file is none of ours.
        """
        try:
            return KeptToken(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            raise ConfigError(
                f"The file `{self._file}` has no refresh token that can be read. Expected what an "
                "earlier run wrote there. Sign in anew at the API, set the new refresh token, "
                "and delete the file"
            ) from None

    def write(self, token: KeptToken) -> None:
        """Keep a token: it is on the disk when this returns."""
        with self._trouble():
            new = self._file.with_suffix(".new")
            with open(new, "w", opener=_for_me_alone) as file:
                file.write(json.dumps(asdict(token)))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)
            _sync(self.folder)

    def _prepare(self) -> None:
        with self._trouble():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.folder.stat()
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise ConfigError(
                    f"The folder `{self.folder}` of `auth.token_folder` is open to other users "
                    f"(mode {stat.S_IMODE(status.st_mode):04o}), and a refresh token goes there. "
                    f"Expected a folder of this user alone: chmod 700 {self.folder}"
                )
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError("no permission to write there")

    def _trouble(self) -> "_Trouble":
        return _Trouble(self.folder)


class _Trouble:
    """An error of the file system as a sentence."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason = machine_problem(error) or error.strerror or error
            raise ConfigError(
                f"The folder `{self._folder}` of `auth.token_folder` can't be written "
                f"({reason}), and the API's next refresh token would be lost. "
                "Check: 1. its path; 2. its permissions; 3. that the disk has space"
            ) from None


async def _locked(file: int, path: Path) -> None:
    """Wait for the lock, which ends with the file or the process."""
    waited_s, warned = 0.0, False
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if waited_s > _WARNED_S and not warned:
            warned = True
            log.warning(_HELD.format(waited_s=_WARNED_S, file=path))
        if waited_s > _LONGEST_S:
            raise ApiUnavailable(_HELD.format(waited_s=_LONGEST_S, file=path))
        await asyncio.sleep(_LOOK_S)
        waited_s += _LOOK_S


def _for_me_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    at = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(at)
    finally:
        os.close(at)
