"""Many histories on both engines, each explained by one list: SOAK_SEEDS seeds from SOAK_FROM on, ROUNDS misfortunes each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from citybrain.local.engine_processes import EngineProcesses
from tests.faults.engines.test_linearizable import lived
from tests.linearizability.places import EmbeddedPlace
from tests.linearizability.trouble import judged

FIRST = int(os.environ.get("SOAK_FROM", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("SOAK_SEEDS", "10")))
ROUNDS = int(os.environ.get("ROUNDS", "20"))
# Mostly small: then a stream has many buckets, and most reads go over several.
BUCKETS = (5, 3, 5, 1000)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", SEEDS)
def test_on_one_file_one_list_explains_what_callers_are_told(tmp_path: Path, seed: int) -> None:
    judged(EmbeddedPlace(str(tmp_path / "events.db")), seed, ROUNDS)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", SEEDS)
def test_on_cassandra_and_kafka_one_list_explains_what_callers_are_told(
    engines: EngineProcesses, prefix: str, seed: int
) -> None:
    lived(engines, prefix, seed, BUCKETS[seed % len(BUCKETS)], ROUNDS)
