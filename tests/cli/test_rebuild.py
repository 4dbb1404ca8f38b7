"""`city rebuild` on a city that runs: the view is read all the time, and says the same afterwards."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from citybrain.mesh.v1 import mesh_service_pb2 as pb

from citybrain.cli import rebuild
from tests.cli.test_backup import city
from tests.helpers.city_command import refused, run
from tests.helpers.waiting import until


def test_a_view_is_rebuilt_while_the_city_works(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with city(data) as running:
        reported = [running.report().incident_id for _ in range(20)]
        stop = threading.Event()
        lacking: list[str] = []

        def read() -> None:
            while not stop.wait(0.01):
                lacking.extend(set(reported[:20]) - running.listed())
                reported.append(running.report().incident_id)

        # Once everything is listed, no look may ever miss anything of it.
        until(lambda: set(reported) <= running.listed(), "not everything is listed")
        reader = threading.Thread(target=read)
        reader.start()
        done = [run(tmp_path, "rebuild", "emergency_command", "listed", "--data", str(data), "--json") for _ in range(2)]
        stop.set()
        reader.join()
        assert [json.loads(one.stdout)["live"] for one in done] == [2, 3], [one.stderr for one in done]
        assert lacking == []
        until(lambda: running.listed() == set(reported), "the view is no fold of the log")
        said = run(tmp_path, "rebuild", "emergency_command", "listed", "--address", running.child.address).stdout
        assert "generation 4 is live" in said
        given_up = run(tmp_path, "rebuild", "emergency_command", "listed", "--give-up", "--data", str(data)).stdout
        assert "generation 4 stays live" in given_up


def test_a_rebuild_that_does_not_move_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    begun = pb.Rebuild(live=1, building=2, head=9)
    stands = pb.GetRebuildResponse(rebuild=pb.Rebuild(live=1, building=2, position=4, head=9))
    done = pb.GetRebuildResponse(rebuild=pb.Rebuild(live=2))
    said: list[str] = []

    def ask(method: object) -> pb.GetRebuildResponse:
        said.append(capsys.readouterr().err)
        return done if any("has not moved" in one for one in said) else stands

    monkeypatch.setattr(rebuild, "_QUIET_S", 0.2)
    assert rebuild._wait(ask, "health", "roads", begun).live == 2
    (told,) = filter(None, said)
    assert (
        told
        == "city: roads of health stands at position 4 of 9 and has not moved for 0.2 s: `city events lag` says what fails\n"
    )


def test_what_cannot_be_rebuilt_says_what_there_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with city(data):
        said = refused(tmp_path, "rebuild", "emergency_command", "list", "--data", str(data))
        assert "no read model list of emergency_command runs here; there are: emergency_command listed" in said
        said = refused(tmp_path, "rebuild", "health", "ambulance_list", "--data", str(data))
        assert "no process of health runs on" in said
