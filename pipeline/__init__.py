"""The engine: from a source's YAML to committed Parquet on S3. Nothing here imports Dagster.

Read it in this order; each uses only those above it (``tests/test_architecture.py`` has the law).

============== ==================================================================================
what           meaning
============== ==================================================================================
``errors``     one tree; each leaf says who retries. ``messages``: HTTP requests and responses, and
               the bytes of a body. ``runtime``: threads and memory. ``timestamps``: points in
               time. ``kinds``: families of kinds. ``model``: the base of every model of the YAML.
               ``redaction``: secrets are found by type, and stay out of texts and logs
``decode``     bytes to Arrow, fast and lossless
``partitions`` how time is cut into partitions, and which window of the cursor one requests
``auth``       credentials, one kind a file, and the origin that they are for
``hooks``      the user's own functions: transform, pager, auth
``pagination`` how pages follow each other, and the proof that no row lies between two of them
``bookmarks``  where a partition starts and ends whose cursor is a number or a change token
``aws``        AWS's operations by their models: names, rows, requests and responses
``config``     what an API is, from its YAML
``dialects``   the HTTP request of a page, in the API's own words
``ratelimit``  when a request may go, over all processes
``http``       the only sender
``extract``    all pages of one window, side by side and in order
``lanes``      AWS, an account and a region at a time
``lake``       S3: staged, committed all at once, read
``run``        one partition, and all partitions of a run
============== ==================================================================================
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
