"""Many more histories of the distributed engine than CI has time for: HISTORIES=100000 make soak."""

from __future__ import annotations

import os

from tests.distributed.history import History

SEEDS = int(os.environ.get("HISTORIES", "20000"))
FIRST = 1000


def test_nothing_is_lost_in_many_histories() -> None:
    for seed in range(FIRST, FIRST + SEEDS):
        try:
            History(seed).run()
        except Exception as error:
            raise AssertionError(f"history {seed}: {error!r}") from error
