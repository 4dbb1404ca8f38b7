"""Whole runs: with a small mesh, and without one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.traffic.v1 import events_pb2 as traffic_events
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.simulation.__main__ import main

pytestmark = pytest.mark.sumo

UNTIL = "470"
CALLS = [
    {"at_s": 10, "edge_id": "-24487264", "position_m": 83.2, "severity": "SERIOUS"},
    {"at_s": 40, "edge_id": "28675510#7", "position_m": 129.0, "severity": "CRITICAL"},
]


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def of(told: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in told if line["kind"] == kind]


@pytest.fixture
def city(
    scenario_path: Callable[[str], Path], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., list[dict[str, Any]]]:
    """Drives a short city run with two emergencies, or as many as asked for; returns what it told."""

    def drive(mesh: Any, *options: str, calls: int = 2) -> list[dict[str, Any]]:
        capfd.readouterr()
        file = tmp_path / "calls.jsonl"
        file.write_text("\n".join(json.dumps(call) for call in CALLS[:calls]))
        status = main(
            [
                "city",
                "--scenario",
                str(scenario_path("cologne8")),
                "--gateway",
                mesh.address,
                "--until",
                UNTIL,
                "--calls",
                str(file),
                *options,
            ]
        )
        out, err = capfd.readouterr()
        assert status == 0, err
        told = [json.loads(line) for line in out.splitlines()]
        return told

    return drive


def test_an_emergency_is_driven_from_the_call_to_the_hospital(
    city: Callable[..., list[dict[str, Any]]], fake_mesh: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITY_TOKEN", "a-token")
    with fake_mesh.FakeMesh() as mesh:
        told = city(mesh, "--record", str(tmp_path / "record"), "--tracks", str(tmp_path / "tracks"))
    (result,) = of(told, "result")
    assert [call["finished"] for call in result["calls"]] == [True, True]
    assert [call["called_at"] for call in result["calls"]] == [25210, 25240]
    assert result["safety_findings"] == 0
    assert result["others"]["vehicles"] > 200
    stages = [r.stage for m, r, _ in mesh.requests if m.endswith("/ReportMission") and r.incident_id.endswith("01")]
    assert stages == [
        health.MISSION_STAGE_UNDER_WAY,
        health.MISSION_STAGE_AT_SCENE,
        health.MISSION_STAGE_PATIENT_ON_BOARD,
        health.MISSION_STAGE_AT_HOSPITAL,
    ]

    # What reacts to an event carries its trace on.
    reacting = [m for name, _, m in mesh.requests if name.split("/")[1] in ("ReportMission", "AcknowledgeNotice")]
    assert {m["traceparent"] for m in reacting} == {fake_mesh.TRACE}
    # Every call carries the token.
    assert {m["authorization"] for _, _, m in mesh.requests} == {"Bearer a-token"}
    assert sum(name.endswith("/AcknowledgeNotice") for name, _, _ in mesh.requests) == 2

    record = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    heard = [line for line in record if "heard" in line]
    assert [line["version"] for line in heard if line["on"] == "missions"] == [1, 2, 3, 4, 5, 6, 7, 8]
    called = [line for line in record if line.get("acknowledged", "").endswith("ReportEmergency")]
    assert [line["request_id"] for line in called] == ["simulation-1-call-1", "simulation-1-call-2"]
    assert called[0]["response"]["incident"]["incident_id"] == "inc-000000000001"

    tracks = json.loads((tmp_path / "tracks").read_text())
    assert len(tracks["vehicles"]) == 2
    assert len(tracks["shown"]) == 8
    assert {place["kind"] for place in tracks["places"]} == {"hospital", "station", "call"}


def test_what_vehicles_report_follows_the_granted_route_in_every_second_of_a_mission(
    city: Callable[..., list[dict[str, Any]]], fake_mesh: ModuleType
) -> None:
    with fake_mesh.FakeMesh() as mesh:
        told = city(mesh)
    route = of(told, "ride")[0]["edges"] + of(told, "ride_hospital")[0]["edges"][1:]
    unit = of(told, "ride")[0]["ambulance_id"]
    first = of(told, "result")[0]["calls"][0]
    seen = [
        (request.observed_at.seconds, vehicle)
        for name, request, _ in mesh.requests
        if name.endswith("/ReportObservations")
        for vehicle in request.vehicles
        if vehicle.vehicle_id == unit
    ]
    seconds = [second for second, _ in seen]
    assert len(seconds) >= first["at_hospital_s"]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))
    assert all(route[vehicle.route_index] == vehicle.edge_id for _, vehicle in seen)
    indices = [vehicle.route_index for _, vehicle in seen]
    assert indices == sorted(indices)
    assert indices[-1] == len(route) - 1


def test_the_same_rides_can_be_driven_without_the_city_and_only_the_signals_differ(
    city: Callable[..., list[dict[str, Any]]],
    fake_mesh: ModuleType,
    scenario_path: Callable[[str], Path],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    with fake_mesh.FakeMesh() as mesh:
        told = city(mesh)
    rides = tmp_path / "rides.jsonl"
    rides.write_text("\n".join(json.dumps(line) for line in told))
    results = {}
    for variant in ("bluelight", "ordinary", "alone"):
        scenario = str(scenario_path("cologne8"))
        assert main([variant, "--scenario", scenario, "--rides", str(rides), "--until", UNTIL]) == 0
        (results[variant],) = of(lines(capfd), "result")
    (with_city,) = of(told, "result")
    # This mesh commands no signal, so a siren alone must give the very same run.
    assert results["bluelight"]["others"] == with_city["others"]
    assert [c["at_hospital_s"] for c in results["bluelight"]["calls"]] == [c["at_hospital_s"] for c in with_city["calls"]]
    assert sum(c["red_wait_s"] for c in results["ordinary"]["calls"]) > sum(c["red_wait_s"] for c in with_city["calls"])
    assert all(call["finished"] for call in results["ordinary"]["calls"])
    # A siren drives through red; who obeys the lights does not.
    passed, reds = (
        {variant: sum(call[what] for call in result["calls"]) for variant, result in results.items()}
        for what in ("signals_passed", "reds_run")
    )
    assert passed["ordinary"] == passed["bluelight"] == passed["alone"] > 4
    assert (reds["ordinary"], reds["bluelight"] > 0) == (0, True), reds
    # The bound of them all: nobody else is on the road, and no signal is red.
    alone = results["alone"]
    assert (alone["others"]["vehicles"], reds["alone"], sum(c["red_wait_s"] for c in alone["calls"])) == (0, 0, 0)
    for call, bound in zip(with_city["calls"], alone["calls"], strict=True):
        assert bound["finished"] and bound["ride_s"] < call["ride_s"]


def test_two_runs_of_one_seed_make_the_same_calls_in_the_same_order(
    city: Callable[..., list[dict[str, Any]]], fake_mesh: ModuleType
) -> None:
    made = []
    for _ in range(2):
        with fake_mesh.FakeMesh() as mesh:
            city(mesh, "--until", "120", calls=1)
        made.append([(n, r.SerializeToString(), m.get("x-request-id")) for n, r, m in mesh.requests if not n.endswith("/Rest")])
    assert made[0] == made[1]


@pytest.mark.parametrize("rhythm", [(), ("--pace", "50")], ids=["at rest", "at a pace"])
def test_a_mesh_that_is_gone_for_a_while_is_waited_for_and_told_the_time_again(
    city: Callable[..., list[dict[str, Any]]], fake_mesh: ModuleType, rhythm: tuple[str, ...]
) -> None:
    mesh = fake_mesh.FakeMesh().start()
    restarts: list[int] = []

    def fail_once(request: traffic.ReportObservationsRequest) -> list[Message]:
        if request.vehicles and not restarts:
            restarts.append(1)
            fake_mesh.threading.Thread(target=lambda: (mesh.stop(), mesh.start())).start()
        return []

    mesh.on_observation = fail_once
    try:
        told = city(mesh, *rhythm, "--until", "250", calls=1)
    finally:
        mesh.stop()
    (result,) = of(told, "result")
    assert restarts
    assert result["calls"][0]["finished"]
    assert result["mesh"]["reopened"] >= 6
    assert mesh.times_told_since_start > 0
    # Nothing was heard twice, though streams were opened twice.
    assert len(of(told, "ride")) == 1


def test_at_a_pace_rest_is_never_asked_for_and_no_second_is_shorter_than_the_pace_says(
    city: Callable[..., list[dict[str, Any]]], fake_mesh: ModuleType
) -> None:
    pace = 50
    began = time.monotonic()
    with fake_mesh.FakeMesh() as mesh:
        told = city(mesh, "--pace", str(pace), calls=1)
    (result,) = of(told, "result")
    assert result["calls"][0]["finished"]
    assert not [name for name, _, _ in mesh.requests if name.endswith("/Rest")]
    assert time.monotonic() - began >= (result["mesh"]["driven_until"] - result["begin"]) / pace


def test_without_the_traffic_sector_ambulances_drive_all_the_same(
    city: Callable[..., list[dict[str, Any]]], fake_mesh: ModuleType
) -> None:
    class NoSignals(fake_mesh.FakeMesh):  # type: ignore[misc, name-defined]
        """Knows roads, but neither signals nor observations."""

        def serves(self, method: str) -> bool:
            return method not in ("RegisterSignal", "ReportObservations", "FollowSignalCommands", "ReportSignal")

    with NoSignals() as mesh:
        told = city(mesh, "--until", "250", calls=1)
    (result,) = of(told, "result")
    assert result["calls"][0]["finished"]
    assert result["mesh"]["dropped"] > 100


def test_signal_commands_are_played_and_reported_back(city: Callable[..., list[dict[str, Any]]], fake_mesh: ModuleType) -> None:
    with fake_mesh.FakeMesh() as mesh:
        commanded: list[str] = []

        def hold(request: traffic.ReportObservationsRequest) -> list[Message]:
            """Keeps the first signal that is seen in what it shows for a whole cycle: in step, and without any change."""
            for shown in request.signals:
                signal = next(
                    r.signal
                    for n, r, _ in mesh.requests
                    if n.endswith("/RegisterSignal") and r.signal.signal_id == shown.signal_id
                )
                durations = [p.duration_s for p in signal.phases]
                into = (request.observed_at.seconds + 1 - signal.cycle_start.seconds) % sum(durations)
                phase, left = next(
                    (i, sum(durations[: i + 1]) - into) for i in range(len(durations)) if into < sum(durations[: i + 1])
                )
                if not commanded and signal.phases[phase].state == shown.state and left > 6 and min(shown.since_s) > 5:
                    commanded.append(shown.signal_id)
                    return [
                        traffic_events.SignalCommanded(
                            signal_id=shown.signal_id, command_id="k", from_state=shown.state, program_id=signal.program_id,
                            intervals=[traffic_events.SignalInterval(state=shown.state, duration_s=sum(durations))],
                            plan_phase=phase, plan_phase_left_s=left,
                        )
                    ]  # fmt: skip
            return []

        mesh.on_observation = hold
        told = city(mesh, "--until", "250", calls=1)
    (result,) = of(told, "result")
    assert commanded
    reported = [(r.report, r.signal_id) for n, r, _ in mesh.requests if n.endswith("/ReportSignal")]
    assert reported == [
        (traffic.SIGNAL_REPORT_STARTED, commanded[0]),
        (traffic.SIGNAL_REPORT_BACK_IN_PLAN, commanded[0]),
    ]
    assert result["signals"]["commands"] == 1
    assert result["signals"]["clock_corrections"] == 0
    assert result["signals"]["out_of_step_at_end"] == []
    assert result["safety_findings"] == 0


NIGHT = """<additional>
  <tlLogic id="252017285" type="static" programID="night" offset="0">
    <phase duration="30" state="rrrrGGggrrrrGGgg"/><phase duration="4" state="rrrryyyyrrrryyyy"/>
    <phase duration="30" state="GGggrrrrGGggrrrr"/><phase duration="4" state="yyyyrrrryyyyrrrr"/>
  </tlLogic>
  <WAUT refTime="0" id="w" startProg="0"><wautSwitch time="25230" to="night"/></WAUT>
  <wautJunction wautID="w" junctionID="252017285"/>
</additional>"""
CONFIGURATION = """<configuration>
  <input>
    <net-file value="{net}"/><route-files value="{routes}"/><additional-files value="night.add.xml"/>
  </input>
  <time><begin value="25200"/><end value="28800"/></time>
</configuration>"""


def by_night(given: Path, folder: Path) -> Path:
    """A scenario in which one signal runs another program after half a minute."""
    (folder / "night.add.xml").write_text(NIGHT, encoding="utf-8")
    scenario = folder / "night.sumocfg"
    scenario.write_text(
        CONFIGURATION.format(net=given.with_suffix(".net.xml"), routes=given.with_suffix(".rou.xml")), encoding="utf-8"
    )
    return scenario


def test_a_plan_that_changes_by_the_time_of_day_is_registered_again_as_soon_as_the_mesh_takes_it(
    city: Callable[..., list[dict[str, Any]]], fake_mesh: ModuleType, scenario_path: Callable[[str], Path], tmp_path: Path
) -> None:
    class Busy(fake_mesh.FakeMesh):  # type: ignore[misc, name-defined]
        """Holds the signal for a while when its plan changes."""

        tries = 0

        def _RegisterSignal(self, request: traffic.RegisterSignalRequest) -> Message:
            if request.signal.program_id == "night":
                self.tries += 1
                if self.tries < 3:
                    raise fake_mesh.Refusal(grpc.StatusCode.FAILED_PRECONDITION, "it is under control")
            answer: Message = super()._RegisterSignal(request)
            return answer

    with Busy() as mesh:
        told = city(mesh, "--scenario", str(by_night(scenario_path("cologne8"), tmp_path)), "--until", "60", calls=1)
    asked = [(m["x-request-id"], r.signal) for n, r, m in mesh.requests if n.endswith("/RegisterSignal")]
    night = [(name, signal) for name, signal in asked if signal.program_id == "night"]
    assert [name for name, _ in night] == [f"simulation-1-signal-252017285-{second}" for second in (25230, 25231, 25232)]
    assert [phase.duration_s for phase in night[-1][1].phases] == [30, 4, 30, 4]
    (result,) = of(told, "result")
    assert result["safety_findings"] == 0
    assert result["mesh"]["refused"] == 0
    assert result["signals"]["out_of_step_at_end"] == []


def test_a_signal_that_the_mesh_does_not_take_is_named(
    fake_mesh: ModuleType, scenario_path: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    class Strict(fake_mesh.FakeMesh):  # type: ignore[misc, name-defined]
        """Takes no phase of a day."""

        def _RegisterSignal(self, request: traffic.RegisterSignalRequest) -> Message:
            raise fake_mesh.Refusal(grpc.StatusCode.INVALID_ARGUMENT, "signal.phases[0].duration_s: is too long")

    with Strict() as mesh:
        assert (
            main(["city", "--scenario", str(scenario_path("cologne8")), "--gateway", mesh.address, "--emergencies", "1"]) == 2
        )
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("signal ") and "RegisterSignal: INVALID_ARGUMENT: signal.phases[0].duration_s: is too long" in line


def test_a_network_with_a_blank_in_an_id_is_refused_with_that_id(
    scenario_path: Callable[[str], Path], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = scenario_path("cologne1")
    net = given.with_suffix(".net.xml").read_text(encoding="utf-8")
    for end in ('"', "_"):
        net = net.replace(f"-28198821#4{end}", f"Moon Street{end}")
    (tmp_path / "one.net.xml").write_text(net, encoding="utf-8")
    scenario = tmp_path / "one.sumocfg"
    text = given.read_text(encoding="utf-8").replace(given.with_suffix(".net.xml").name, "one.net.xml")
    scenario.write_text(text.replace('"cologne1.rou.xml"', f'"{given.with_suffix(".rou.xml")}"'), encoding="utf-8")
    assert main(["city", "--scenario", str(scenario), "--gateway", "127.0.0.1:1"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "one.net.xml: " in line and "'Moon Street' has a blank in its id" in line
