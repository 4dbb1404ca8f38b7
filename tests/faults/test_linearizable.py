"""What callers in several processes on one event file are told comes from one list, while these are stopped and killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.linearizability.places import EmbeddedPlace
from tests.linearizability.trouble import judged


@pytest.mark.parametrize("seed", [1, 2])
def test_what_callers_are_told_comes_from_one_list_and_what_is_heard_is_in_its_order(tmp_path: Path, seed: int) -> None:
    judged(EmbeddedPlace(str(tmp_path / "events.db")), seed, rounds=6)
