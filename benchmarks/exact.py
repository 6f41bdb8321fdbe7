"""Whether what a peer left on S3 is exactly the API's rows: every key once. Not measured."""

from collections.abc import Sequence
from typing import Any

import pyarrow.dataset as ds
from pyarrow.fs import FileSelector, S3FileSystem

from local.s3 import S3


def compare(s3: S3, bucket: str, prefix: str, ids: Sequence[int]) -> dict[str, Any]:
    """Rows, keys that are missing, and rows too many, of all Parquet files of ``games``."""
    files = S3FileSystem(
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        region=s3.region,
        endpoint_override=s3.endpoint_url,
    )
    selector = FileSelector(f"{bucket}/{prefix}", recursive=True, allow_not_found=True)
    paths = [
        info.path
        for info in files.get_file_info(selector)
        if info.path.endswith(".parquet") and "/games/" in info.path
    ]
    if not paths:
        return {"rows_on_s3": 0, "files": 0, "missing": len(ids), "doubled": 0, "exact": False}
    table = ds.dataset(paths, filesystem=files, format="parquet").to_table(columns=["id"])
    found = sorted(table["id"].to_pylist())
    distinct = set(found)
    return {
        "rows_on_s3": len(found),
        "files": len(paths),
        "missing": len(set(ids) - distinct),
        "doubled": len(found) - len(distinct),
        "exact": found == list(ids),
    }
