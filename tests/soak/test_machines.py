"""Many more sequences of what callers and members do, other ones each time: SEQUENCES=100000 make soak."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.test_broken_engines import _OnSplit
from tests.contract.test_embedded import TestMachine as Embedded
from tests.engines.test_both_engines import TestMachine as OnEngines
from tests.engines.test_both_engines import shared

__all__ = ["shared"]

SEQUENCES = int(os.environ.get("SEQUENCES", "2000"))

pytestmark = pytest.mark.timeout(0)


class TestEmbedded(Embedded):
    """On SQLite."""

    examples, same = SEQUENCES, False


def test_several_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _OnSplit()
    engine.examples, engine.same = SEQUENCES, False
    engine.test_whatever_callers_and_members_do_the_store_and_what_was_done_agree_with_a_model(tmp_path, monkeypatch)


class TestOnEngines(OnEngines):
    """On Cassandra and Kafka, where a sequence takes seconds."""

    examples, same = SEQUENCES // 20, False
