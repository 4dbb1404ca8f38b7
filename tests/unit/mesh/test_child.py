"""A mesh process as a child: what fails to start leaves nothing behind, and to stop twice is to stop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from citybrain.local.child import ChildError, MeshChild


def test_a_child_that_does_not_start_says_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    child = MeshChild(tmp_path / "data", ["no-such-service"])
    for _ in range(2):
        with pytest.raises(ChildError, match="there is no service no-such-service"):
            child.start()
        assert (child.running, child.pid, child.address) == (False, 0, "")
    assert child.stop() == 0


def test_a_child_may_be_stopped_twice_and_started_again_where_it_was(tmp_path: Path) -> None:
    child = MeshChild(tmp_path / "data", ["sagas"])
    address = child.start()
    assert child.running and child.pid
    assert [child.stop(), child.stop()] == [0, 0]
    assert (child.running, child.pid) == (False, 0)
    child.kill()
    assert child.start() == address
    assert child.stop() == 0


def test_to_begin_a_process_loads_nothing_that_only_some_of_its_work_or_only_other_engines_need(tmp_path: Path) -> None:
    begins = "citybrain.mesh.startup.serve"
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {begins}, citybrain.services.health.service; print(*sys.modules)"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.split()  # fmt: skip
    assert "eventlet" in loaded
    late = ("networkx", "dns", "cassandra", "confluent_kafka", "libsumo", "numpy")
    assert [name for name in late if name in loaded] == []
