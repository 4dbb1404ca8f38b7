"""The mesh is killed while it folds a view anew: the live one is read as it was, and the new one takes its place after all."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub

from tests.cli.test_backup import city
from tests.helpers.callers import calling
from tests.helpers.waiting import until

REPORTED = 120


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_while_it_rebuilds_a_view_stays_whole_and_the_rebuild_is_done_in_the_end(tmp_path: Path, seed: int) -> None:
    chance, pause = random.Random(seed), threading.Event()
    data = tmp_path / "data"
    with city(data) as running:
        reported = {running.report().incident_id for _ in range(REPORTED)}
        until(lambda: running.listed() == reported, "not everything is listed")
        asked = pb.RebuildViewRequest(service="emergency_command", view="listed")
        with calling(running.child) as channel:
            begun = MeshServiceStub(channel).RebuildView(asked, timeout=60).rebuild
        pause.wait(chance.random() * 0.2)
        running.child.kill()
    with city(data) as running, calling(running.child) as channel:
        mesh = MeshServiceStub(channel)
        look = pb.GetRebuildRequest(service="emergency_command", view="listed")
        assert running.listed() == reported
        until(lambda: mesh.GetRebuild(look, timeout=60).rebuild.live == begun.building, "the rebuild is not gone on with")
        assert running.listed() == reported
        new = running.report().incident_id
        until(lambda: running.listed() == reported | {new}, "the new one does not go on")
