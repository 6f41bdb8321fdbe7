"""A kind of object store that only this file knows: a partition lands in it, whole and resumed."""

import hashlib
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from pyarrow.fs import FileSystem, LocalFileSystem
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ConfigError, HeadraceError, LakeUnavailable
from pipeline.lake.maintenance import clean
from pipeline.lake.read import current, manifests
from pipeline.lake.stores.base import (
    STORES,
    ListedObject,
    ObjectStore,
    Part,
    StoredObject,
    Upload,
    UploadGone,
    WriteConflict,
    check_lake_url,
    open_lake,
)
from tests.support.responses import json_answer
from tests.support.runs import extract, outcome_of, serving

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = "2026-11-01"
ROWS = 60


class ToyStore(ObjectStore):
    """A folder of this machine, for one process: renames are atomic, a lock guards conditions."""

    example = "toy:///folder"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._folder = Path(self.root.removeprefix("toy://"))
        self._unseen = self._folder.with_name(self._folder.name + ".uploads")
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    @classmethod
    def check_url(cls, rest: str) -> None:
        if not rest.startswith("/"):
            raise ConfigError(f"a toy lake is an absolute folder; expected {cls.example}")

    @classmethod
    def open(cls, url: str, client: Callable[[], Any] | None = None) -> Self:
        return cls(url)

    @property
    def address(self) -> str:
        return "this machine"

    def check(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> StoredObject | None:
        self._observe("get", key)
        file = self._folder / key
        if not file.exists():
            return None
        return StoredObject(file.read_bytes(), self._etag(file) or "", self._modified(file))

    def size(self, key: str) -> int | None:
        self._observe("head", key)
        file = self._folder / key
        return file.stat().st_size if file.exists() else None

    def put(self, key: str, body: bytes, *, replaces: str | None) -> str:
        self._observe("put", key)
        file = self._folder / key
        with self._lock:
            if self._etag(file) != replaces:
                raise WriteConflict(f"{self.url(key)} was changed by another run")
            self._move_in(body, file)
            return self._etag(file) or ""

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._observe("delete", key)
            (self._folder / key).unlink(missing_ok=True)

    def delete_exactly(self, key: str, etag: str) -> bool:
        self._observe("delete", key)
        with self._lock:
            if self._etag(self._folder / key) != etag:
                return False
            (self._folder / key).unlink()
            return True

    def list(self, prefix: str) -> Iterator[ListedObject]:
        self._observe("list", prefix)
        for file in sorted(self._folder.rglob("*")):
            key = file.relative_to(self._folder).as_posix()
            if file.is_file() and key.startswith(prefix):
                size, etag = file.stat().st_size, self._etag(file) or ""
                yield ListedObject(key, size, self._modified(file), etag)

    def folders(self, folder: str) -> Sequence[str]:
        at = self._folder / folder
        return sorted(each.name for each in at.iterdir() if each.is_dir()) if at.exists() else []

    def create_upload(self, key: str) -> str:
        self._observe("create_upload", key)
        name = f"{next(self._numbers)}-{threading.get_ident()}"
        (self._unseen / name).mkdir(parents=True)
        (self._unseen / name / "key").write_text(key)
        return name

    def upload_part(self, key: str, upload_id: str, number: int, body: bytes) -> Part:
        self._observe("upload_part", key)
        if not (self._unseen / upload_id).exists():
            raise UploadGone(key)
        (self._unseen / upload_id / str(number)).write_bytes(body)
        return {"number": number}

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        self._observe("complete_upload", key)
        upload = self._unseen / upload_id
        if not upload.exists():
            raise UploadGone(key)
        body = b"".join((upload / str(part["number"])).read_bytes() for part in parts)
        self._move_in(body, self._folder / key)
        shutil.rmtree(upload)

    def abort_upload(self, key: str, upload_id: str) -> None:
        self._observe("abort_upload", key)
        shutil.rmtree(self._unseen / upload_id, ignore_errors=True)

    def uploads(self, folder: str) -> Sequence[Upload]:
        self._observe("list_uploads", folder)
        there = self._unseen.glob("*/key")
        uploads = [Upload(k.read_text(), k.parent.name, self._modified(k)) for k in there]
        return [each for each in uploads if each.key.startswith(folder)]

    def filesystem(self) -> FileSystem:
        return LocalFileSystem()

    def arrow_path(self, key: str) -> str:
        return str(self._folder / key)

    def unreadable(self, error: OSError) -> HeadraceError:
        return LakeUnavailable(f"The files of `{self.url()}` can't be read: {error}.")

    def _move_in(self, body: bytes, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._unseen / f"new-{next(self._numbers)}"
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(body)
        beside.replace(file)

    @staticmethod
    def _etag(file: Path) -> str | None:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None

    @staticmethod
    def _modified(file: Path) -> datetime:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[ObjectStore]:
    STORES.register("toy")(ToyStore)
    try:
        opened = open_lake(f"toy://{tmp_path}/lake")
        opened.check()
        yield opened
    finally:
        STORES.forget("toy")


@pytest.fixture
def source() -> Iterator[Source]:
    async def items(request: Request) -> Response:
        first, limit = (int(request.query_params[name]) for name in ("offset", "limit"))
        rows = [{"id": n} for n in range(first, min(first + limit, ROWS))]
        return json_answer(rows)

    with serving(Starlette(routes=[Route("/items", items)])) as url:
        endpoint = {
            "path": "items",
            "request": {"params": {"offset": "{offset}", "limit": "{limit}"}},
            "paging": {"kind": "offset", "limit": 10},
            "key": ["id"],
            "columns": {"id": "int64"},
            "batch_rows": 20,
        }
        yield Source.model_validate(
            {
                "source": "shop",
                "base_url": url,
                "start": DAY,
                "endpoints": {"items": endpoint},
            }
        )


def ids(lake: ObjectStore) -> list[int]:
    return sorted(current(lake, "shop", "items")["id"].to_pylist())


def test_a_partition_lands_and_is_replaced(lake: ObjectStore, source: Source) -> None:
    today = "2026-11-20"
    extract(source, lake, "items", [today], NOW)
    [first] = manifests(lake, "shop", "items")
    extract(source, lake, "items", [today], NOW)
    [second] = manifests(lake, "shop", "items")
    assert ids(lake) == list(range(ROWS))
    assert first.generation < second.generation
    there = {item.key for item in lake.list("") if "/_manifests/" not in item.key}
    assert there == second.paths
    assert lake.uploads("") == []
    assert clean(lake, older_than_s=0).leftovers == ()


def test_a_partition_is_resumed(lake: ObjectStore, source: Source) -> None:
    def fail(operation: str, key: str) -> None:
        if operation == "create_upload" and "part-00002" in key:
            raise LakeUnavailable("the disk is away")

    lake.on_operation = fail
    outcome, _ = outcome_of(source, lake, "items", ["2026-11-20"], NOW)
    assert [type(each.error) for each in outcome.failed] == [LakeUnavailable]
    lake.on_operation = None
    assert manifests(lake, "shop", "items") == []
    [manifest] = extract(source, lake, "items", ["2026-11-20"], NOW)
    assert manifest.resumed_pages > 0
    assert ids(lake) == list(range(ROWS))
    assert {len(lake.uploads("")), len(list(lake.list("shop/items/_checkpoints/")))} == {0}


def test_the_scheme_is_what_tells_the_kind(lake: ObjectStore) -> None:
    assert check_lake_url("toy:///x") == ("toy", "/x")
    with pytest.raises(ConfigError, match="absolute folder; expected toy:///folder"):
        check_lake_url("toy://x")
    with pytest.raises(ConfigError, match="expected s3://bucket/prefix or toy:///folder"):
        check_lake_url("gs://x")


def test_nobody_outside_the_family_names_a_kind() -> None:
    root = Path(__file__).parents[2]
    family, door = root / "pipeline/lake/stores", root / "pipeline/lake/s3.py"
    for top in ("assets", "resources", "pipeline", "sourcetool"):
        for file in (root / top).rglob("*.py"):
            if family not in file.parents and file != door:
                text = file.read_text(encoding="utf-8")
                assert "S3Store" not in text, file
                assert "pipeline.lake.s3 import" not in text, file
                assert "stores.s3" not in text, file
