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


@pytest.mark.parametrize("store", BROKEN, ids=lambda store: store.__name__)
def test_a_store_that_breaks_a_promise_is_refused(store: type, tmp_path: Path) -> None:
    place = EmbeddedPlace(str(tmp_path / "events.db"), f"{broken.__name__}:{store.__name__}")
    with pytest.raises(AssertionError, match="histories are wrong"):
        judged(place, seed=1, rounds=1)
