"""The engine: from a source's YAML to committed Parquet on S3. Nothing here imports Dagster.

Read it in this order; each uses only those above it (``tests/test_architecture.py`` has the law).

============ ====================================================================================
what         meaning
============ ====================================================================================
``errors``   one tree; each leaf says who tries again. ``body``: an answer's bytes. ``heap``:
             threads and memory. ``instants``: points in time
``rows``     JSON to Arrow, fast and lossless
``spec``     what an API is, from its YAML
``window``   which interval of the cursor a partition asks for
``paging``   which requests, and the proof that no row lies between two pages; ``plugin``: the
             user's own pager, transform and auth
``budget``   when a request may go, over all processes
``client``   the only sender
``extract``  all pages of one window, side by side and in order
``lake``     S3: staged, committed all at once, read
``run``      one partition, and all partitions of a run
============ ====================================================================================
"""

import os
import sys

# Arrow reads these once, when it is loaded. With its other allocators a step takes a third more
# memory (mimalloc), or each column that grows is moved (the system's):
# docs/decisions/0007-fast-path.md.
if sys.platform == "linux":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    # Several arenas would each keep free memory, and memory given back lazily stays the process's.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "narenas:1,muzzy_decay_ms:0")
