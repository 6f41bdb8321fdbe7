"""A refresh token that is good once: kept from run to run, and spent by one process at a time."""

import asyncio
import errno
import fcntl
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from local.paths import ROOT
from pipeline.auth.token_file import TokenFile
from pipeline.config import Source
from pipeline.errors import ApiUnavailable, AuthError, ConfigError
from pipeline.messages import RequestCounts
from tests.support.clock import Loop
from tests.support.wire import answer, client_of, read_json, read_request, serving, things
from tests.support.yaml_sources import quick


class Rotating:
    """An API whose token endpoint takes each refresh token once.

    :ivar refuses: the status to a token that is not good.
    """

    def __init__(self, expires_in: int = 3600, refuses: int = 401) -> None:
        self.expires_in = expires_in
        self.refuses = refuses
        self.good_for_all = True
        self.next = "refresh-0"
        self.good = ""
        self.renewals = 0

    def __call__(self, number: int, seen: Any) -> bytes:
        if seen.target.endswith("/token"):
            return self._renew(dict(parse_qsl(seen.body.decode())))
        given = seen.headers.get("authorization", "")
        if not self.good_for_all:
            return answer({}, self.refuses)
        return answer([given]) if given == f"Bearer {self.good}" else answer({}, self.refuses)

    def _renew(self, form: dict[str, str]) -> bytes:
        if form["refresh_token"] != self.next:
            return answer({"error": "invalid_grant"}, 400)
        self.renewals += 1
        self.next = f"refresh-{self.renewals}"
        self.good = f"access-{self.renewals}"
        said = {"access_token": self.good, "refresh_token": self.next}
        return answer({**said, "expires_in": self.expires_in})


def source(url: str, folder: Path | None, refresh: str = "refresh-0", **more: str) -> Source:
    kept = f", token_folder: {folder}" if folder else ""
    named = f"token_url: {url}/token, client_id: me, refresh_token: {refresh}"
    return quick(url, auth=f"{{kind: oauth2_refresh_token, {named}{kept}}}", **more)


async def page(of: Source) -> Any:
    async with client_of(of) as client:
        return await client.fetch(things(of), read_json, "page", RequestCounts())


def test_the_next_run_goes_on_with_the_token_that_is_kept(tmp_path: Path) -> None:
    async def run() -> None:
        api = Rotating()
        async with serving(api) as wire:
            of = source(wire.url, tmp_path / "tokens")
            assert await page(of) == ["Bearer access-1"]
            assert await page(of) == ["Bearer access-1"]  # still good: nothing is spent
            api.good = "revoked"
            assert await page(of) == ["Bearer access-2"]
        assert api.renewals == 2

    asyncio.run(run())
    (kept,) = (tmp_path / "tokens").glob("*.json")
    assert json.loads(kept.read_text())["refresh"] == "refresh-2"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_users_at_once_spend_a_token_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    async def run() -> None:
        api = Rotating()
        async with serving(api) as wire:
            of = source(wire.url, tmp_path)
            came = await asyncio.gather(*(page(of) for _ in range(8)))
        assert came == [["Bearer access-1"]] * 8
        assert api.renewals == 1

    asyncio.run(run())


@pytest.mark.parametrize("status", [401, 403], ids=["401", "a status of its own"])
def test_a_kept_token_that_is_dead_as_well_is_renewed(tmp_path: Path, status: int) -> None:
    """The API has forgotten its tokens, those that another process has kept with them."""

    async def run() -> None:
        api = Rotating(refuses=status)
        async with serving(api) as wire:
            of = source(wire.url, tmp_path / "t", more="answers: {dead_token: [403]}")
            async with client_of(of) as first, client_of(of) as second:

                async def page_by(client: Any) -> Any:
                    return await client.fetch(things(of), read_json, "page", RequestCounts())

                assert await page_by(first) == ["Bearer access-1"]
                api.good = "forgotten"
                assert await page_by(second) == ["Bearer access-2"]
                api.good = "forgotten as well"
                assert await page_by(first) == ["Bearer access-3"]
                assert await page_by(second) == ["Bearer access-3"]
        assert api.renewals == 3

    asyncio.run(run())


@pytest.mark.parametrize("status", [401, 403], ids=["401", "a status of its own"])
def test_a_renewed_token_that_is_dead_as_well_is_an_error_also_after_a_kept_one(
    tmp_path: Path, status: int
) -> None:
    async def run() -> None:
        api = Rotating(refuses=status)
        async with serving(api) as wire:
            of = source(wire.url, tmp_path / "t", more="answers: {dead_token: [403]}")
            async with client_of(of) as first:
                get = things(of)
                await first.fetch(get, read_json, "page", RequestCounts())
                api.good = "forgotten"
                await page(of)
                api.good_for_all = False
                for _ in range(2):
                    with pytest.raises(AuthError, match=f"{status}"):
                        await first.fetch(get, read_json, "page", RequestCounts())
        assert api.renewals <= 4

    asyncio.run(run())


def test_a_token_that_has_run_out_is_renewed_with_the_kept_one(tmp_path: Path) -> None:
    async def run() -> None:
        api = Rotating(expires_in=1)
        async with serving(api) as wire:
            of = source(wire.url, tmp_path / "t")
            await page(of)
            (kept,) = (tmp_path / "t").glob("*.json")
            kept.write_text(json.dumps(json.loads(kept.read_text()) | {"good_until": 1.0}))
            assert await page(of) == ["Bearer access-2"]

    asyncio.run(run())


def test_a_new_refresh_token_in_the_yaml_begins_anew(tmp_path: Path) -> None:
    async def run() -> None:
        api = Rotating()
        async with serving(api) as wire:
            await page(source(wire.url, tmp_path / "t"))
            api.next, api.good = "signed-in-anew", "none"
            with pytest.raises(AuthError, match=r"sign in anew at the API and set `auth\.refresh"):
                await page(source(wire.url, tmp_path / "t"))
            of = source(wire.url, tmp_path / "t", "signed-in-anew")
            assert await page(of) == ["Bearer access-2"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("mode", "said"),
    [(0o755, "is open to other users .mode 0755.*chmod 700"), (0o500, "can't be written")],
)
def test_a_folder_that_cannot_keep_it_is_refused_before_the_token_is_spent(
    tmp_path: Path, mode: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "t"
    folder.mkdir(mode=mode)
    if mode == 0o500:  # root may write everywhere
        monkeypatch.setattr("os.access", lambda *_: False)

    async def run() -> None:
        api = Rotating()
        async with serving(api) as wire:
            with pytest.raises(ConfigError, match=said):
                await page(source(wire.url, folder))
        assert api.renewals == 0

    asyncio.run(run())


@pytest.mark.parametrize("again", [1, 3], ids=["once", "several times"])
def test_a_cancelled_page_loses_no_token_that_is_on_its_way(tmp_path: Path, again: int) -> None:
    """Its renewal has spent the refresh token already: the next one is kept all the same."""

    async def run() -> None:
        spent, may_respond = asyncio.Event(), asyncio.Event()
        api = Rotating()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen = await read_request(reader)
            response = api(0, seen)
            if seen.target.endswith("/token"):
                spent.set()
                await may_respond.wait()
            writer.write(response)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            of = source(
                f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", tmp_path / "tokens"
            )
            async with client_of(of) as client:

                async def get() -> Any:
                    return await client.fetch(things(of), read_json, "page", RequestCounts())

                first = asyncio.create_task(get())
                await spent.wait()
                for _ in range(again):
                    first.cancel()
                    await asyncio.sleep(0)
                second = asyncio.create_task(get())
                may_respond.set()
                with pytest.raises(asyncio.CancelledError):
                    await first
                assert await second == ["Bearer access-1"], "another page of the run"
            assert await page(of) == ["Bearer access-1"], "the next run"
        assert api.renewals == 1

    asyncio.run(run())
    (kept,) = (tmp_path / "tokens").glob("*.json")
    assert json.loads(kept.read_text())["refresh"] == "refresh-1"


HOLDS = """
import asyncio, sys
from pipeline.auth.token_file import TokenFile
async def hold():
    async with TokenFile(sys.argv[1], tuple(sys.argv[2:])).alone():
        print("held", flush=True)
        await asyncio.sleep(600)
asyncio.run(hold())
"""


def test_a_killed_process_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def run() -> None:
        api = Rotating()
        async with serving(api) as wire:
            of = source(wire.url, tmp_path / "t")
            named = [f"{wire.url}/token", "me", "refresh-0"]
            holder = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", HOLDS, str(tmp_path / "t"), *named),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            assert holder.stdout is not None
            await holder.stdout.readline()
            waiting = asyncio.create_task(page(of))
            for _ in range(3):  # looks at the lock
                await asyncio.wait([waiting], timeout=0.06)
            assert (waiting.done(), api.renewals) == (False, 0)
            holder.kill()
            await holder.wait()
            assert await waiting == ["Bearer access-1"]

    asyncio.run(run())


def test_a_stopped_process_that_renews_is_told_of_and_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Five minutes by a clock that skips what is waited for."""
    folder = tmp_path / "t"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder), "me"], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)

        async def wait() -> None:
            async with TokenFile(str(folder), ("me",)).alone():
                raise AssertionError("the lock is held")

        with (
            asyncio.Runner(loop_factory=Loop) as runner,
            pytest.raises(ApiUnavailable, match=r"for 300 s: .*`fuser .*\.lock`"),
        ):
            runner.run(wait())
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    [warning] = [each.getMessage() for each in caplog.records]
    assert "for 30 s" in warning
    assert "whether it is stopped" in warning


def test_a_file_system_that_gives_no_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file system of a test machine can be made to do so."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    async def run() -> None:
        api = Rotating()
        async with serving(api) as wire:
            with pytest.raises(ConfigError, match=r"gives no locks \(ENOLCK\)"):
                await page(source(wire.url, tmp_path / "t"))
        assert api.renewals == 0

    monkeypatch.setattr(fcntl, "flock", refuse)
    asyncio.run(run())


def test_a_token_that_ends_with_the_run_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def run() -> None:
        async with serving(Rotating()) as wire:
            await page(source(wire.url, None))
            assert "ends with this run" in caplog.text
            assert "set `auth.token_folder`" in caplog.text
            with pytest.raises(AuthError, match=r"set `auth\.token_folder`, which keeps"):
                await page(source(wire.url, None))

    asyncio.run(run())
    assert "refresh-" not in caplog.text
