"""The engine: from a source's YAML to committed Parquet on S3. Nothing here imports Dagster.

Read the modules in the order in which data flows; each group uses only those above it, and the
last one ties them together.

========== ======================================================================================
what       modules
========== ======================================================================================
errors     ``errors``: one tree; each leaf says who tries again; ``body``: an answer's bytes
spec       ``spec``: what an API is; ``plugin``: what YAML can't say
window     ``window``: which interval of the cursor a partition asks for
pages      ``paging``: which requests; ``proof``: why no row lies between two pages
rows       ``types`` (declared), ``guard`` (bytes), ``strict``, ``exact`` and ``repair`` (JSON to
           Arrow, fast and lossless), ``evolve`` (inferred), ``arrow`` (the reader), ``columns``,
           ``heap`` (threads and memory)
budget     ``budget``: when a request may go, over all processes
requests   ``bounds``, ``keys``, ``request``, ``apicalypse``, ``multiquery``: a page as an HTTP
           request
client     ``auth``, ``classify``, ``retry``, ``breaker``, ``connections`` (httpx over aiohttp's),
           ``transport``, ``client`` (the only sender), ``pack`` and ``packing`` (pages that ride
           together), ``cache``, ``links``
extract    ``feed``, ``counted``, ``fetch`` (one page, held against what was asked), ``lanes``
           (side by side, in order), ``by_key`` (under the proof), ``extract`` (chains),
           ``by_cursor``, ``parents``, ``plan``
lake       ``store`` (S3), ``swap``, ``layout``, ``parquet``, ``manifest``, ``checkpoint``,
           ``attempt``, ``commit``, ``publish``, ``read``, ``rows``, ``maintain``
a run      ``batch``, ``verify``, ``staged``, ``conditional``, ``run`` (one partition),
           ``winner``, ``source_run`` (all partitions of a run), ``sweep`` (deletes)
========== ======================================================================================
"""

import os
import sys

# Arrow reads these once, when it is loaded. What it takes else keeps a step's memory a third larger
# (mimalloc), or moves each column that grows (the system's): docs/decisions/0007-fast-path.md.
if sys.platform == "linux":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "narenas:1")  # or each thread keeps free memory
