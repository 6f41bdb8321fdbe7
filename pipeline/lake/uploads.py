"""A file on its way to the store, in parts, unseen until its upload is completed."""

from contextlib import suppress
from typing import Final

from pipeline.errors import HeadraceError, LakeUnavailable
from pipeline.lake.stores.base import ObjectStore, Part, UploadGone

PART_BYTES: Final = 16 * 2**20  # S3: at least 5 MiB, but for the last part


def upload(lake: ObjectStore, key: str, body: memoryview) -> tuple[str, tuple[Part, ...]]:
    """Send a file as an unfinished upload: no reader sees it.

    :return: the upload's id, and its parts: what completes it.
    :raises LakeUnavailable: the store lost the upload twice while its parts were sent.
    """
    starts = range(0, max(1, body.nbytes), PART_BYTES)
    for last_attempt in (False, True):
        upload_id = lake.create_upload(key)
        try:
            parts = tuple(
                lake.upload_part(key, upload_id, number, bytes(body[i : i + PART_BYTES]))
                for number, i in enumerate(starts, start=1)
            )
        except UploadGone:
            if last_attempt:
                raise LakeUnavailable(
                    f"{lake.address} twice lost the upload of `{lake.url(key)}` while its parts"
                    " were sent. Check what else removes unfinished uploads there."
                ) from None
        except HeadraceError:
            with suppress(HeadraceError):
                lake.abort_upload(key, upload_id)
            raise
        else:
            return upload_id, parts
    raise AssertionError("unreachable")
