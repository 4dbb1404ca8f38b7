"""The whole check can fail: of a store that is sound but for one thing it says that no list explains what callers heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.linearizability import broken
from tests.linearizability.places import EmbeddedPlace
from tests.linearizability.trouble import judged

BROKEN = (
    broken.ReadsOldPages,
    broken.ReadsInTwoParts,
    broken.AcknowledgesFirst,
    broken.ConflictsWithItself,
    broken.WritesAgain,
)


# Whether a store does it wrong in one history depends on who was faster; that it does so in none of these, on nothing.
MOST_HISTORIES = 10


@pytest.mark.parametrize("store", BROKEN, ids=lambda store: store.__name__)
def test_a_store_that_breaks_a_promise_is_refused(store: type, tmp_path: Path) -> None:
    for seed in range(1, MOST_HISTORIES + 1):
        place = EmbeddedPlace(str(tmp_path / f"events-{seed}.db"), f"{broken.__name__}:{store.__name__}")
        try:
            judged(place, seed=seed, rounds=1)
        except AssertionError as found:
            assert "histories are wrong" in str(found)
            return
    pytest.fail(f"{MOST_HISTORIES} histories of a store that is broken were all taken for right")
