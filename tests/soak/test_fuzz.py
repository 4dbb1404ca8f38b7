"""FUZZ_REQUESTS requests of every kind by chance (a hundred thousand), with other seeds each time; and many callers."""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.access.conftest import guarded_city
from tests.e2e.access.test_fuzz import fuzzed
from tests.e2e.access.test_under_load import test_each_caller_with_a_token_of_the_city_has_a_bucket_of_its_own as buckets
from tests.helpers.fuzzing import Findings, after

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "100000"))
SEED = int(os.environ.get("FUZZ_SEED", random.randrange(2**31)))
# So many at a time are told of.
_PART = 2000
_THREADS = 3

pytestmark = pytest.mark.timeout(0)


def test_whatever_is_sent_is_answered_in_words_and_breaks_nothing(tmp_path: Path) -> None:
    sys.stdout.write(f"\nFUZZ_SEED={SEED}: each part of {_PART} requests has the next number as its seed\n")
    with guarded_city(tmp_path) as city, ThreadPoolExecutor(_THREADS) as pool:
        mesh, envoy = city.city.mesh, city.city.gateway
        assert mesh is not None and envoy is not None
        pids = (mesh.pids, envoy.pid)
        found = Findings()
        for part in pool.map(lambda seed: fuzzed(city, seed, _PART), range(SEED, SEED + max(1, REQUESTS // _PART))):
            found.add(part)
            sys.stdout.write(f"{found}\n")
            sys.stdout.flush()
        found.faults += after(city.city.data, found, city.city.data / "mesh.log")
        sys.stdout.write("\n".join(found.unavailable[:5]) + "\n")
        assert not found.faults, "\n".join(found.faults[:50])
        assert found.reached * 2 >= sum(found.sent.values())
        assert (mesh.pids, envoy.pid) == pids, "nothing was started again"
        assert city.paper.report("after-all")


def test_a_thousand_callers_have_a_thousand_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded_city(tmp_path) as city:
        buckets(city, monkeypatch, 1000)
