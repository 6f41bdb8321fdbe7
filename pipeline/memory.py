"""Which allocator holds the tables. What was measured: docs/decisions/0007-fast-path.md."""

import os

import pyarrow as pa


def use_little() -> None:
    """Arrow's own allocator keeps what threads have freed; the system's gives it back.

    Who has chosen one by ``ARROW_DEFAULT_MEMORY_POOL`` keeps it.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())
