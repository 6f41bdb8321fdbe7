"""The same partition by two processes at the same time: one generation, whole, and no failure."""

import random
from collections import Counter

import pytest

from emulator.testing import Emulator
from local.services import S3
from pipeline.lake.read import manifests
from pipeline.lake.s3 import Lake
from tests.faults.support import IN_DAY_S, check_clean, check_rows, new_run_id
from tests.faults.workers import Task, workers
from tests.support.thorough import THOROUGH

ROUNDS = 20 * THOROUGH
ENDPOINT = "genres"
OPTIONS = {"only": [ENDPOINT], "page_rows": 8, "batch_rows": 8, "pack": 1}


@pytest.mark.slow
def test_again_and_again_at_random_offsets(api: Emulator, s3: S3, lake: Lake) -> None:
    chance = random.Random(5)
    address = (api.port, api.client_id, api.client_secret)
    outcomes: Counter[str] = Counter()
    with workers(s3, 2) as pair:
        for _ in range(ROUNDS):
            api.touch(ENDPOINT, count=3, updated_at=IN_DAY_S)
            for worker in pair:
                delay_s = chance.choice([0.0, chance.uniform(0, 0.3)])
                url = lake.url().rstrip("/")
                worker.begin(Task(url, address, OPTIONS, new_run_id(), delay_s=delay_s))
            told = [worker.told() for worker in pair]
            (manifest,) = manifests(lake, "igdb", ENDPOINT)
            ends = []
            for one in told:
                assert one is not None
                assert one.errors == []
                assert one.outcomes[0] in ("committed", "lost", "already committed")
                ends.append((one.outcomes[0], one.generations[0] == manifest.generation))
                outcomes[one.outcomes[0]] += 1
            assert any(is_it for _, is_it in ends), "somebody's generation is the one that is there"
            for outcome, is_it in ends:
                assert is_it or outcome == "committed", "the loser names the winner's generation"
            check_rows(lake, api.rows(ENDPOINT), ENDPOINT)
            check_clean(lake)
    assert outcomes["lost"] >= 3, "they did meet"
    assert outcomes["committed"] >= ROUNDS
