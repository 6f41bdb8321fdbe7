"""`python -m examples.shop`: the shop's API and a local S3, until they are stopped.

The file ``.local/shop/env`` sets for a shell all that Dagster and `./headrace` need to know of the
two; `. .local/shop/env` reads it.
"""

import argparse
import sys
from pathlib import Path

from emulator.parent import exit_with
from examples.serving import exports, serve, write
from examples.shop.server import TOKEN, app
from local.paths import STATE
from local.process import LocalError
from local.services import seaweedfs
from local.settings import BUCKET


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the API; 0: any free one")
    parser.add_argument("--dir", type=Path, default=STATE / "shop", help="of S3's files and env")
    parser.add_argument("--parent-pid", type=int, default=0, help="exit when this process is gone")
    options = parser.parse_args(argv)
    if options.parent_pid:
        exit_with(options.parent_pid)
    folder: Path = options.dir.resolve()
    env = folder / "env"
    try:
        with seaweedfs(folder / "s3", buckets=[BUCKET]) as s3:

            def ready(port: int) -> None:
                url = f"http://127.0.0.1:{port}"
                values = {"SHOP_BASE_URL": url, "SHOP_TOKEN": TOKEN}
                values |= {"HEADRACE_SOURCES": "sources/shop.yaml"}
                write(env, exports(values, s3, folder))
                print(f"The shop is at {url}/orders. Ctrl-C stops it.", flush=True)

            serve(app(), options.port, ready)
    except LocalError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
