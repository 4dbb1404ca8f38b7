"""A few hundred requests of every kind by chance: each is answered in words, and what is refused does nothing."""

from __future__ import annotations

import sys

import pytest

from tests.e2e.access.conftest import Guarded
from tests.helpers.fuzzing import Findings, Fuzzer, after

pytestmark = pytest.mark.envoy

# Always the same: tests/soak has others, and a hundred thousand requests.
SEED, REQUESTS = 18, 700


def fuzzed(city: Guarded, seed: int, requests: int) -> Findings:
    """The findings of so many requests."""
    fuzzer = Fuzzer(seed, city.gateway, city.past, city.settings, city.ring)
    try:
        return fuzzer.run(requests)
    finally:
        fuzzer.close()


def test_whatever_is_sent_is_answered_in_words_and_breaks_nothing(guarded: Guarded) -> None:
    mesh, envoy = guarded.city.mesh, guarded.city.gateway
    assert mesh is not None and envoy is not None
    pids = (mesh.pids, envoy.pid)
    sys.stdout.write(f"seed {SEED}\n")
    found = fuzzed(guarded, SEED, REQUESTS)
    found.faults += after(guarded.city.data, found, guarded.city.data / "mesh.log")
    sys.stdout.write(f"{found}\n")
    assert not found.faults, "\n".join(found.faults[:10])
    assert found.reached * 2 >= REQUESTS
    assert (mesh.pids, envoy.pid) == pids, "nothing was started again"
    assert guarded.paper.report("after-all")
