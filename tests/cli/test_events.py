"""`city events`: how far groups are, what is parked; tried again in order once it is mended, or given up with a reason."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub

from citybrain.cli import groups
from citybrain.local.child import MeshChild
from tests.contract.runtime.probing import PROBE, Probe
from tests.contract.runtime.test_nameko import Nameko
from tests.helpers.city_command import refused, run
from tests.helpers.waiting import until

GROUP = "probe.answer"


def probe(folder: Path, **environment: str) -> MeshChild:
    child = Nameko.launch(folder / "data", PROBE, ["probe"], driven=False, port=0, environment=environment)
    child.start()
    return child


def parked(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = run(folder, "events", "parked", *arguments, "--json")
    assert done.returncode == 0, done
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a mesh leaves in which a stream is parked: it takes a while until an event is given up."""
    folder = tmp_path_factory.mktemp("parked")
    running = probe(folder)
    try:
        here = Probe(running)
        for stream, text in (("bad", "before"), ("bad", "poison"), ("bad", "behind"), ("good", "beside")):
            here.write(stream, text)
        until(lambda: len(parked(folder, GROUP)) == 2, "set aside")
        # It is tried some times more before it waits for somebody.
        until(lambda: not any(one["beingTried"] for one in parked(folder, GROUP)), "parked")
        here.close()
    finally:
        running.stop()
    return folder / "data"


def test_where_nothing_runs_it_says_so(tmp_path: Path) -> None:
    for command in (["lag"], ["parked"], ["replay", "g", "s"], ["drop", "g", "1", "--reason", "r"]):
        assert "nothing runs on data: start it with `city up`" in refused(tmp_path, "events", *command)


def test_what_is_parked_is_listed_and_tried_again_in_order_once_it_is_mended(tmp_path: Path, kept: Path) -> None:
    shutil.copytree(kept, tmp_path / "data")
    running = probe(tmp_path, PROBE_MENDED="1")
    try:
        here = Probe(running)
        first, second = parked(tmp_path)
        stream = first["stream"]
        assert (first["group"], first["type"], stream) == (GROUP, "citybrain.probe.v1.Written", second["stream"])
        assert "ValueError in answer" in first["reason"] and "an earlier event" in second["reason"]
        mesh = MeshServiceStub(here.channel)
        one = mesh.ListParked(pb.ListParkedRequest(group=GROUP, page_size=1), timeout=60)
        other = mesh.ListParked(pb.ListParkedRequest(group=GROUP, page_size=1, page_token=one.next_page_token), timeout=60)
        places = [[event.position for event in page.events] for page in (one, other)]
        assert (places, other.next_page_token) == ([[int(first["position"])], [int(second["position"])]], "")
        shown = run(tmp_path, "events", "parked").stdout
        assert "poison" not in shown and "parked: ValueError in answer" in shown
        lag = run(tmp_path, "events", "lag", "--json")
        (group,) = [one for one in json.loads(lag.stdout) if one["name"] == GROUP]
        assert (lag.returncode, group["parked"], group["lag"], group["pid"]) == (1, 2, "0", running.pid)
        assert "2 of" in run(tmp_path, "events", "replay", GROUP, stream).stdout
        assert here.until_notes("answered", lambda notes: len(notes) >= 2) == ["poison", "behind"]
        until(lambda: parked(tmp_path) == [], "done")
        assert "nothing is parked" in run(tmp_path, "events", "parked").stdout
        assert run(tmp_path, "events", "lag").returncode == 0
        here.close()
    finally:
        running.stop()


def test_what_is_given_up_is_kept_with_its_reason_and_what_stood_behind_it_goes_on(tmp_path: Path, kept: Path) -> None:
    shutil.copytree(kept, tmp_path / "data")
    running = probe(tmp_path)
    try:
        here = Probe(running)
        position = str(parked(tmp_path)[0]["position"])
        assert "given up" in run(tmp_path, "events", "drop", GROUP, position, "--reason", "a test of the terminal").stdout
        assert here.until_notes("answered", bool) == ["behind"]
        until(lambda: parked(tmp_path) == [], "done")
        assert "nothing parked at" in refused(tmp_path, "events", "drop", GROUP, position, "--reason", "again")
        here.close()
    finally:
        running.stop()
    with sqlite3.connect(tmp_path / "data" / "probe.views.db") as file:
        assert file.execute("SELECT reason FROM dropped").fetchall() == [("a test of the terminal",)]


@pytest.mark.parametrize("command", [["parked", "nobody.hears"], ["replay", "nobody.hears", "s"]])
def test_a_group_that_nobody_has_is_refused_with_those_there_are(tmp_path: Path, command: list[str]) -> None:
    running = probe(tmp_path)
    try:
        said = refused(tmp_path, "events", *command)
        assert "no consumer group nobody.hears here" in said and GROUP in said
        assert "has nothing parked of probe/x" in refused(tmp_path, "events", "replay", GROUP, "probe/x")
    finally:
        running.stop()


def test_a_process_that_hangs_is_named_beside_what_the_others_tell(tmp_path: Path) -> None:
    with (
        MeshChild(tmp_path / "data", ["health"], name="health") as health,
        MeshChild(tmp_path / "data", ["traffic"]) as traffic,
    ):
        until(lambda: run(tmp_path, "events", "lag").returncode == 0, "all well")
        answers, pid = health.pid, traffic.pid
        os.kill(traffic.pid, signal.SIGSTOP)
        try:
            # Together: each waits for one that does not answer.
            with ThreadPoolExecutor(3) as together:
                asked = [
                    together.submit(run, tmp_path, "events", *words)
                    for words in (("lag", "--json"), ("parked",), ("replay", "traffic.view.roads", "s"))
                ]
                lag, listed, replayed = (one.result() for one in asked)
        finally:
            os.kill(traffic.pid, signal.SIGCONT)
    assert lag.returncode == 1
    assert {one["pid"] for one in json.loads(lag.stdout)} == {answers}
    hangs = f"traffic (process {pid}) does not answer"
    assert f"city: {hangs}" in lag.stderr
    assert (listed.returncode, listed.stdout, hangs in listed.stderr) == (1, "nothing is parked\n", True)
    assert (replayed.returncode, hangs in replayed.stderr) == (2, True), "it may be the one that has it"


def test_of_a_process_with_more_parked_events_than_a_page_has_all_are_shown() -> None:
    class Many:
        """Tells one at a time."""

        def ListParked(self, request: pb.ListParkedRequest, timeout: float) -> pb.ListParkedResponse:
            number = int(request.page_token or 1)
            event = pb.ParkedEvent(group=request.group, position=number)
            return pb.ListParkedResponse(events=[event], next_page_token=str(number + 1) if number < 4 else "")

    assert [event.position for event in groups._parked(Many(), "g")] == [1, 2, 3, 4]


def test_what_is_being_tried_again_is_not_called_parked() -> None:
    event = pb.ParkedEvent(group="g", position=7, stream="s", type="t", reason="ValueError in hear", being_tried=True)
    assert groups.lines(event) == "g  7  s  t\n    being tried again: ValueError in hear"
    event.being_tried = False
    assert groups.lines(event) == "g  7  s  t\n    parked: ValueError in hear"
