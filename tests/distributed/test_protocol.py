"""The protocol of the distributed engine holds in every history; and a defect that is planted in it is found."""

from __future__ import annotations

import pytest

from tests.distributed.history import History, Parts
from tests.distributed.planted import PLANTED

SEEDS = 100
BLOCK = 25
# What a defect may cost to find: the rarest was found within some hundred.
ENOUGH = 2000


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_nothing_is_lost_doubled_or_out_of_order_in_any_history(first: int) -> None:
    for seed in range(first, first + BLOCK):
        try:
            History(seed).run()
        except Exception as error:
            raise AssertionError(f"history {seed}: {error!r}") from error


@pytest.mark.parametrize("defect", PLANTED)
def test_a_planted_defect_is_found(defect: str) -> None:
    assert found_at(PLANTED[defect]) is not None


def found_at(parts: Parts) -> int | None:
    """The first seed in whose history something is wrong."""
    for seed in range(parts.first_seed, parts.first_seed + ENOUGH):
        try:
            History(seed, parts).run()
        except AssertionError:
            return seed
    return None
