"""All services of docker-compose.yaml as processes of this machine.

Each service's own command runs with its own environment, in the files that the Dockerfile copies.
What a container's file system and network would do is done by rewriting: paths under ``/opt``
become folders of the test, ports of the file free ports, and the services' host names loopback.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from local.ports import free_port
from tests.deploy import image
from tests.deploy.compose import DEPLOY, ServiceSpec, load
from tests.deploy.postgres import Postgres, binary
from tests.deploy.service import Service

HOSTS = re.compile(r"\b(postgres|redis|code)(?=:\d|$)|0\.0\.0\.0")
PORTS = ("5432", "6379", "4000", "3000")


class Deployment:
    """All services of the file, for the settings of a `.env` file."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.ports = {port: str(free_port()) for port in PORTS}
        self._services: dict[str, Service] = {}
        image.built(folder / "opt")
        database = load(self.settings)["postgres"].environment
        self._postgres = Postgres(
            database["POSTGRES_USER"], database["POSTGRES_PASSWORD"], database["POSTGRES_DB"]
        )

    def __getitem__(self, name: str) -> Service:
        if name not in self._services:
            self._services[name] = self._service(load(self.settings)[name])
        return self._services[name]

    def up(self, *names: str) -> None:
        """Start services, each when those that it waits for are healthy, until all are healthy.

        On a fresh Postgres no two processes may make Dagster's tables at once: hence the order.
        """
        specs = load(self.settings)
        healthy: set[str] = set()
        for name in names:
            for other in {*specs[name].after}.intersection(names) - healthy:
                self[other].wait_until_healthy()
                healthy.add(other)
            if self[name].child is None:
                self[name].start()
        for name in {*names} - healthy:
            self[name].wait_until_healthy()

    def change(self, name: str, **settings: str) -> None:
        """Start a service anew with other settings, as `docker compose up -d` after an edit."""
        self[name].stop()
        self.settings |= settings
        del self._services[name]
        self[name].start()

    def another_instance(self, instance: Mapping[str, Any]) -> dict[str, str]:
        """The code server's environment, with an instance of Dagster over the same Postgres."""
        home = self.folder / "home" / "another"
        home.mkdir(parents=True)
        (home / "dagster.yaml").write_text(yaml.safe_dump(instance))
        return self["code"].env | {"DAGSTER_HOME": str(home)}

    def close(self) -> None:
        for service in reversed(self._services.values()):
            service.stop()
        self._postgres.remove()

    def _service(self, spec: ServiceSpec) -> Service:
        home = self._home(spec)
        here = partial(self._here, home=home)
        programs = [Path(sys.executable).parent, Path(binary("initdb")).parent]
        base = {
            "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
            "HOME": str(home),
            "TZ": "UTC",
            "DAGSTER_HOME": str(home),
            "PYTHONPATH": here("/opt/headrace/deploy"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",  # Dagster's hints to newer commands
        }
        own = {name: here(value) for name, value in spec.environment.items()}
        return Service(
            spec,
            self._command(spec, here),
            [here(part) for part in spec.healthcheck],
            {**base, **spec.from_file, **own},
            self.folder / "opt" / "headrace" if spec.image.startswith("headrace") else home,
            self.folder / f"{spec.name}.log",
            next((int(here(port.rpartition(":")[2])) for port in spec.ports), None),
        )

    def _command(self, spec: ServiceSpec, here: Callable[[str], str]) -> list[str]:
        match spec.name:
            case "postgres":
                return self._postgres.command(int(self.ports["5432"]))
            case "redis":
                binary(spec.command[0])
        return [here(part) for part in spec.command]

    def _home(self, spec: ServiceSpec) -> Path:
        """The service's ``/opt/dagster``, with the files that are mounted there."""
        home = self.folder / "home" / spec.name
        home.mkdir(parents=True, exist_ok=True)
        for volume in spec.volumes:
            source, target, *_ = volume.split(":")
            if target.startswith("/opt/dagster/") and source.startswith("./"):
                shutil.copyfile(DEPLOY / source, home / Path(target).name)
        return home

    def _here(self, text: str, home: Path) -> str:
        text = text.replace("/opt/dagster", str(home))
        text = text.replace("/opt/headrace", str(self.folder / "opt" / "headrace"))
        text = HOSTS.sub("127.0.0.1", text)
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda port: self.ports[port[1]], text)
