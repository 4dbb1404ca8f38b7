"""A history of the simulated world can be played again. It is apart from the many, because here branches are measured."""

from __future__ import annotations

import pytest

from tests.distributed.history import History


@pytest.mark.parametrize("seed", [7, 11, 19])
def test_a_seed_is_one_history(seed: int) -> None:
    first, second = History(seed), History(seed)
    first.run()
    second.run()
    assert first.log.records and first.log.records == second.log.records
    assert first.told == second.told
