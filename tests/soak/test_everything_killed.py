"""Hundreds of kills of writers, Kafka and Cassandra: ROUNDS=100 of each victim, from SOAK_FROM on a seed each SOAK_SEEDS."""

from __future__ import annotations

import os

import pytest

from citybrain.local.engine_processes import EngineProcesses
from tests.faults.engines.test_everything_killed import run

FIRST = int(os.environ.get("SOAK_FROM", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("SOAK_SEEDS", "10")))
ROUNDS = int(os.environ.get("ROUNDS", "10"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_out_of_order(engines: EngineProcesses, prefix: str, seed: int) -> None:
    run(engines, prefix, seed, ROUNDS, limit_s=120 + 60 * ROUNDS)
