"""The base of every object store: the operations that a commit rests on, and how a store is opened.

Keys are relative to the lake (``{source}/{endpoint}/…``), as manifests hold them. Every operation
tells the observer before it is sent, and raises the engine's errors only: `WriteConflict`,
`UploadGone`, `LakeUnavailable` (a later attempt may succeed) and `LakeRefused` (none will). The
scheme of ``HEADRACE_LAKE`` names the kind.

``compare_and_swap`` resolves the third outcome of a conditional write: written without a response.
A client (boto3) retries a request whose response was lost, and then conflicts with its own write.
So a conflict, like a failure, is believed only after a look at what is there. For that, no two
writes of a key may have the same body: checkpoints count their writes, manifests bear a
generation.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from pyarrow.fs import FileSystem

from pipeline.errors import ConfigError, HeadraceError, LakeRefused, LakeUnavailable
from pipeline.kinds import Kinds

_NO_ETAG: Final = f'"{"0" * 32}"'

Part = Mapping[str, Any]
"""What a store needs of a part to publish its upload: JSON values, kept in the checkpoint."""


class WriteConflict(HeadraceError):
    """The object is not (or no longer) the one that a conditional request named."""


class UploadGone(HeadraceError):
    """The upload does not exist: completed, aborted, or removed by a lifecycle rule."""


@dataclass(frozen=True)
class StoredObject:
    """An object as it was read."""

    body: bytes
    etag: str
    modified: datetime


@dataclass(frozen=True)
class ListedObject:
    """An object as a listing shows it; ``etag`` is the one that a read would give."""

    key: str
    size: int
    modified: datetime
    etag: str = ""


@dataclass(frozen=True)
class Upload:
    """An upload that is neither completed nor aborted."""

    key: str
    upload_id: str
    initiated: datetime


class ObjectStore(ABC):
    """The objects of one lake, in one kind of store. Used by many threads at once.

    The commit rests on four promises of a kind: a conditional `put` and `delete_exactly` are
    atomic; a write is seen by every read and listing that begins after it; no etag of a key comes
    back; an upload is seen by no reader before `complete_upload`, and then whole.

    A kind is one class, registered under its URL's scheme. A folder of this machine, in short:

        @STORES.register("toy")
        class ToyStore(ObjectStore):
            example = "toy:///folder"

            @classmethod
            def check_url(cls, rest: str) -> None:
                if not rest.startswith("/"):
                    raise ConfigError("a toy lake is an absolute folder")

            @classmethod
            def open(cls, url: str, client: Callable[[], Any] | None = None) -> Self:
                return cls(url)

            @property
            def address(self) -> str:
                return "this machine"

            def get(self, key: str) -> StoredObject | None:
                self._observe("get", key)
                file = self._file(key)
                if not file.exists():
                    return None
                body = file.read_bytes()
                return StoredObject(body, sha256(body).hexdigest(), modified(file))

            def put(self, key: str, body: bytes, *, replaces: str | None) -> str:
                self._observe("put", key)
                with self._lock:
                    found = self._etag(key)
                    if found != replaces:
                        raise WriteConflict(f"{self.url(key)} was changed by another run")
                    beside = self._file(key).with_suffix(".new")
                    beside.write_bytes(body)
                    beside.replace(self._file(key))
                return sha256(body).hexdigest()
            …

    ``tests/seams/test_object_store.py`` has the whole class, and runs a partition with it.

    :param url: the lake's address, e.g. ``s3://bucket/prefix``.
    :ivar on_operation: called with the operation's name and the key before each is sent.
    """

    example: str
    """An address of this kind, for messages."""

    def __init__(self, url: str) -> None:
        self.root = url.strip().rstrip("/")
        self.on_operation: Callable[[str, str], None] | None = None
        self._keeps_conditions = False
        self._asking = threading.Lock()

    def url(self, key: str = "") -> str:
        """The address of a key, for messages and readers."""
        return f"{self.root}/{key}"

    # ---- how a lake is found

    @classmethod
    @abstractmethod
    def check_url(cls, rest: str) -> None:
        """Look at what follows ``scheme://``. :raises ConfigError: no lake can lie there."""

    @classmethod
    @abstractmethod
    def open(cls, url: str, client: Callable[[], Any] | None = None) -> Self:
        """The lake at an address; nothing is sent.

        :param client: makes the client that requests are sent with; None: by the kind's own
            settings.
        """

    @property
    @abstractmethod
    def address(self) -> str:
        """The server, for messages: ``S3 at https://…``."""

    @abstractmethod
    def check(self) -> None:
        """Find out whether the lake is there and can be listed.

        :raises LakeRefused: no such bucket, wrong credentials, no permission.
        :raises LakeUnavailable: the server can't be reached.
        """

    def check_conditions(self, key: str, body: bytes) -> None:
        """Find out, once, whether the server keeps to a condition or overlooks it.

        The store is asked to replace an object that can't be there. A server that does so would
        let two runs of a partition overwrite each other, and report success.

        :param body: what the object holds already, so that nothing is changed even then.
        :raises LakeRefused: the server overlooks the condition.
        """
        with self._asking:
            for last_attempt in (False, False, True):
                if self._keeps_conditions:
                    return
                try:
                    self.put(key, body, replaces=_NO_ETAG)
                except WriteConflict:
                    self._keeps_conditions = True
                except LakeUnavailable:  # nothing is known, and nothing is changed by another one
                    if last_attempt:
                        raise
                else:
                    break
            else:
                return
        raise LakeRefused(
            f"{self.address} overlooks conditions: the server wrote `{self.url(key)}`, although the"
            " request allowed that only in place of another version (If-Match). Two runs of one"
            " partition could lose rows there: use an S3 that has conditional writes."
        )

    # ---- objects

    @abstractmethod
    def get(self, key: str) -> StoredObject | None:
        """The object, or None if there is none."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """The object's size in bytes, or None if there is none."""

    @abstractmethod
    def put(self, key: str, body: bytes, *, replaces: str | None) -> str:
        """Write an object on a condition; returns its etag.

        :param replaces: the etag of the object that must be there; None if none may be there.
        :raises WriteConflict: the condition does not hold.
        """

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""

    @abstractmethod
    def delete_exactly(self, key: str, etag: str) -> bool:
        """Delete an object if it is still the one with that etag; False if it is not."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ListedObject]:
        """The objects whose keys begin with ``prefix``, sorted by key."""

    @abstractmethod
    def folders(self, folder: str) -> Sequence[str]:
        """The names of the folders directly within a folder (``""`` or ``a/b/``)."""

    # ---- parts that no reader sees until they are published

    @abstractmethod
    def create_upload(self, key: str) -> str:
        """Begin an upload that no reader sees until it is completed; returns its id."""

    @abstractmethod
    def upload_part(self, key: str, upload_id: str, number: int, body: bytes) -> Part:
        """Send one part, numbered from 1; returns what `complete_upload` needs of it.

        :raises UploadGone: the upload was aborted, or is removed.
        """

    @abstractmethod
    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Make the object appear. :raises UploadGone: perhaps because it was completed before."""

    @abstractmethod
    def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw an unfinished upload away; one that is gone already is no error."""

    @abstractmethod
    def uploads(self, folder: str) -> Sequence[Upload]:
        """The unfinished uploads of keys under a folder."""

    # ---- how Arrow reads it

    @abstractmethod
    def filesystem(self) -> FileSystem:
        """The store as a file system of Arrow, which reads columns and row groups by itself.

        Make one for each reading: temporary credentials may have been renewed.
        """

    @abstractmethod
    def arrow_path(self, key: str) -> str:
        """The key's path in `filesystem`."""

    @abstractmethod
    def unreadable(self, error: OSError) -> HeadraceError:
        """The engine's error for what `filesystem` raised, twice."""

    # ---- for the kinds

    def _observe(self, operation: str, key: str) -> None:
        if self.on_operation is not None:
            self.on_operation(operation, key)


STORES: Kinds[ObjectStore] = Kinds("The object store (`HEADRACE_LAKE`)", ObjectStore)  # type: ignore[type-abstract]
"""The kinds of object store there are, by the scheme of their URLs."""


def check_lake_url(text: str) -> tuple[str, str]:
    """A lake's URL as its scheme and the rest. :raises ConfigError: no lake can lie there."""
    scheme, separator, rest = text.strip().rstrip("/").partition("://")
    if not separator or scheme not in STORES.names:
        expected = " or ".join(kind.example for _, kind in STORES)
        raise ConfigError(f"`HEADRACE_LAKE` is `{text[:100]}`; expected {expected}.")
    STORES[scheme].check_url(rest)
    return scheme, rest


def open_lake(url: str, clients: Mapping[str, Callable[[], Any]] | None = None) -> ObjectStore:
    """The lake at a URL; nothing is sent.

        lake = open_lake("s3://my-bucket/lake")

    :param clients: by scheme, what makes the client that requests are sent with; else the kind
        makes its own, by its own settings (S3: boto3's).
    :raises ConfigError: no lake can lie there.
    """
    scheme, _ = check_lake_url(url)
    return STORES[scheme].open(url, (clients or {}).get(scheme))


_ATTEMPTS: Final = 3


def compare_and_swap(lake: ObjectStore, key: str, body: bytes, *, replaces: str | None) -> str:
    """Write an object in place of the one with that etag (None: of none); returns its etag.

    :raises WriteConflict: another write came first.
    :raises LakeUnavailable: still unknown, and nothing may be concluded from it.
    """
    failure: WriteConflict | LakeUnavailable | None = None
    for _ in range(_ATTEMPTS):
        try:
            return lake.put(key, body, replaces=replaces)
        except (WriteConflict, LakeUnavailable) as error:
            failure = error
        stored = lake.get(key)
        if stored is not None and stored.body == body:
            return stored.etag
        if (stored.etag if stored else None) != replaces:
            raise WriteConflict(f"{lake.url(key)} was changed by another run") from failure
    raise LakeUnavailable(
        f"{lake.address} did not say whether `{lake.url(key)}` was written. The next attempt finds"
        f" out. {failure}"
    ) from failure
