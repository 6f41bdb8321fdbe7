"""``python -m tests.catalogue FOLDER``: of each stream of its manifests, whether Headrace reads the
rows that the peer reads of the same local API; at the end how many streams do, by verdict.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import yaml

from benchmarks.peers import PEERS, python_of
from local.services import seaweedfs
from pipeline.lake.s3 import Lake
from tests.catalogue.compare import Compared, Peer, compared

VERDICTS = {
    "same": "both read the same rows",
    "values": "the same keys, with other values in a column",
    "different": "other rows",
    "failed": "Headrace refuses what the peer reads",
    "peer": "the peer can't read them",
    "server": "the local API can't play them",
    "refused": "not converted",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", help="names of manifests; default: all")
    parser.add_argument("--peer", help="the Python of the peer; default: one that is installed")
    parser.add_argument("--json", type=Path, help="a file to which a line a manifest is added")
    said = parser.parse_args()
    files = [f for f in sorted(said.folder.glob("*.yaml")) if not said.only or f.stem in said.only]
    verdicts = Counter[str]()
    peer = Peer(said.peer or python_of(PEERS["airbyte"]))
    try:
        with tempfile.TemporaryDirectory() as name, seaweedfs(Path(name) / "s3") as s3:
            for file in files:
                folder = Path(name) / file.stem
                folder.mkdir()
                data = yaml.safe_load(file.read_text("utf-8"))
                lake = Lake(s3.client(), f"s3://lake/{file.stem}")
                found = compared(data, file.stem, lake, folder, peer)
                verdicts.update(one.verdict for one in found.values())
                _show(file.stem, found)
                if said.json:
                    _add(said.json, file.stem, found)
    finally:
        peer.close()
    for verdict, title in VERDICTS.items():
        print(f"{verdicts[verdict]:6,}  {title}")


def _show(name: str, found: dict[str, Compared]) -> None:
    for stream, one in found.items():
        if one.verdict not in ("same", "refused"):
            print(f"{name} {stream}: {one.verdict}: {one.why}")


def _add(file: Path, name: str, found: dict[str, Compared]) -> None:
    line = {stream: [one.verdict, one.why, one.rows] for stream, one in found.items()}
    with file.open("a") as out:
        out.write(json.dumps({"name": name, "r": line}) + "\n")


if __name__ == "__main__":
    main()
