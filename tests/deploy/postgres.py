"""Postgres from Debian's packages, in place of the image `postgres`: by password, as there."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def binary(name: str) -> str:
    """A program's path; the test is skipped where it is not installed."""
    found = shutil.which(name)
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        found = found or shutil.which(name, path=str(folder))
    if found is None:
        pytest.skip(f"{name} is not installed: install Debian's packages postgresql and redis")
    return found


class Postgres:
    """A data folder with one user, who owns one database."""

    def __init__(self, user: str, password: str, database: str) -> None:
        initdb, self._postgres = binary("initdb"), binary("postgres")
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-deploy-pg-"))
        if os.getuid() == 0:  # it refuses to run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        secret = self.folder / "password"
        secret.write_text(password)
        secret.chmod(0o644)
        self._run(
            [initdb, "-D", str(self._data), "-U", user, "-A", "scram-sha-256", "--no-sync",
             "--locale=C", "--encoding=UTF8", f"--pwfile={secret}"],
        )  # fmt: skip
        create = f"CREATE DATABASE {database} OWNER {user};\n"
        self._run([self._postgres, "--single", "-D", str(self._data), "postgres"], create)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, command: list[str], text: str = "") -> None:
        subprocess.run(
            [*self._as_nobody(), *command], check=True, input=text, text=True, cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _as_nobody(self) -> list[str]:
        if os.getuid() != 0:
            return []
        nobody = pwd.getpwnam("nobody")
        ids = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        return ["setpriv", *ids, "--"]

    def command(self, port: int) -> list[str]:
        """Serves on loopback."""
        serve = [self._postgres, "-D", str(self._data), "-k", str(self.folder)]
        settings = ["-h", "127.0.0.1", "-p", str(port), "-c", "fsync=off"]
        return [*self._as_nobody(), *serve, *settings]

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
