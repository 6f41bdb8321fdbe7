"""Free ports on loopback.

SeaweedFS derives ports: some of its parts dial *http port + 10,000* whatever the gRPC flags say, so
a block of free ports is wanted, all of whose +10,000 neighbours are free too. Blocks are taken from
below the range that kernels hand out to clients (from 32,768), so that an outgoing connection
cannot take one between the check and the use. Whoever loses a race tries again with another block.
"""

import random
import socket

LOOPBACK = "127.0.0.1"
GRPC_OFFSET = 10_000
LOWEST, HIGHEST = 11_000, 22_000
TRIES = 200


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_block(size: int, preferred: int | None = None) -> int:
    """The first of `size` consecutive ports that are free, as are those 10,000 above them."""
    for attempt in range(TRIES):
        first = random.randrange(LOWEST, HIGHEST - size)  # noqa: S311 (not a secret)
        if preferred and attempt == 0:
            first = preferred
        block = range(first, first + size)
        if all(is_free(port) and is_free(port + GRPC_OFFSET) for port in block):
            return first
    raise OSError(f"No block of {size} free ports was found on {LOOPBACK} in {TRIES} tries.")


def free_port(preferred: int | None = None) -> int:
    """The preferred port when it is free, else any other."""
    if preferred and is_free(preferred):
        return preferred
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
