"""One emergency in real SUMO traffic through real Envoy, played by `city demo`: everything the demo claims, asserted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from citybrain.health.v1 import events_pb2 as health
from citybrain.traffic.v1 import events_pb2 as traffic
from typer.testing import CliRunner

from citybrain.cli.main import app
from citybrain.local.city import ROOT
from citybrain.mesh.settings.values import Settings
from citybrain.observability.trace_store import TraceStore
from citybrain.observability.trace_tree import edges
from citybrain.stories.emergency import command, timeline
from citybrain.stories.emergency.run import STEPS, Options, Outcome, drive
from tests.helpers.telemetry import lines_in, spans_in, wrong_in_access_log, wrong_lines, wrong_spans
from tests.memory_engine.installing import install

CALL = {"at_s": 300, "edge_id": "-24487264", "position_m": 83.2, "severity": "SERIOUS"}
EDGES = Path(__file__).with_name("edges.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emergency")


@pytest.fixture(scope="module")
def calls(folder: Path) -> Path:
    """A file with one call."""
    file = folder / "calls.jsonl"
    file.write_text(json.dumps(CALL), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def where(calls: Path) -> list[str]:
    """What the demo gives to the drives."""
    return ["--city", "cologne8", "--scenarios", str(ROOT / "build" / "scenarios"), "--calls", str(calls), "--until", "1500"]


@pytest.fixture(scope="module")
def outcome(folder: Path, calls: Path) -> Outcome:
    """What came of the demo, which is run as the command does, in this process."""
    seen: list[Outcome] = []

    def driven(*given: Any) -> Outcome:
        seen.append(drive(*given))
        return seen[-1]

    written = ["--json", str(folder / "measured.json"), "--report", str(folder / "report.html"), "--data", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "drive", driven)
        done = CliRunner().invoke(app, ["demo", "--calls", str(calls), "--no-kill", *written], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return seen[0]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, where: list[str]) -> Iterator[Outcome]:
    step = STEPS.index("at_hospital") + 1
    options = Options(where, 1, 1, tmp_path_factory.mktemp("killed"), kill_step=step, baselines=())
    yield drive(options, lambda _v, _l: None, lambda _t: None)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory, where: list[str]) -> Iterator[Outcome]:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        options = Options(where, 1, 1, tmp_path_factory.mktemp("memory"), settings=Settings(store="memory"), baselines=())
        yield drive(options, lambda _v, _l: None, lambda _t: None)


def happened(run: Outcome) -> list[tuple[str, str, int, int, bytes]]:
    """The domain events of a run."""
    (events,) = run.incidents.values()
    domain = [e for e in events if not e.stream.startswith("sagas/")]
    return sorted((e.type, e.stream, e.version, e.occurred_at.seconds, e.data.value) for e in domain)


@pytest.mark.sumo
def test_the_patient_reaches_the_hospital_in_every_drive_and_signals_stay_safe(outcome: Outcome) -> None:
    for result in outcome.results.values():
        (call,) = result["calls"]
        assert call["finished"] and not call["lost"]
    city = outcome.results["city"]
    assert city["signals"]["commands"] > 0
    assert city["safety"] == dict.fromkeys(city["safety"], 0)
    assert city["signals"]["out_of_step_at_end"] == []
    assert city["signals"]["playing_at_end"] == []


@pytest.mark.sumo
def test_what_the_demo_measured_is_written_as_json(outcome: Outcome, folder: Path) -> None:
    (first,) = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    assert first["results"] == outcome.results
    assert set(first["results"]) == set(first["median_ride_s"]) == {"ordinary", "bluelight", "city"}
    assert first["killed"] is None
    assert (folder / "report.html").is_file()


@pytest.mark.sumo
def test_the_story_holds_every_department_in_order_and_nothing_twice(outcome: Outcome) -> None:
    (events,) = outcome.incidents.values()
    names = [event.type.rpartition(".")[2] for event in events]
    in_order = ["IncidentOpened", "AmbulanceReserved", "BedReserved", "PriorityGranted", "PatientHandedOver", "IncidentClosed"]
    assert [name for name in names if name in in_order] == in_order
    assert names.count("DistrictNotified") == names.count("NoticeAcknowledged") > 0
    assert {event.correlation_id for event in events} == set(outcome.incidents)
    # What a department did for the workflow was caused by the event with which the workflow asked for it.
    ids = {event.id for event in events}
    asked = ("AmbulanceChosen", "AmbulanceReserved", "BedReserved", "PriorityGranted", "DistrictNotified", "PatientHandedOver")
    assert [e.type for e in events if e.type.endswith(asked) and e.causation_id not in ids] == []
    stages = [health.MissionReported.FromString(e.data.value).stage for e in events if e.type.endswith(".MissionReported")]
    assert stages == [1, 2, 3, 4]
    lines = timeline.tell(events)
    assert {line.department for line in lines} == {"emergency_command", "health", "traffic", "district_hub"}


@pytest.mark.sumo
def test_the_trace_is_one_and_has_every_edge_of_the_list_written_by_hand(outcome: Outcome, folder: Path) -> None:
    (incident,) = outcome.incidents
    store = TraceStore(folder / "seed-1" / "traces.db")
    spans = store.by_incident(incident)
    store.close()
    found = {f"{e.parent_service} : {e.parent_name} → {e.child_service} : {e.child_name}" for e in edges(spans)}
    wanted = [line for line in EDGES.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    missing = [line for line in wanted if line not in found]
    assert not missing, "\n".join([*missing, "", "found:", *sorted(found)])
    assert len({span.trace_id for span in spans}) == 1


@pytest.mark.sumo
def test_the_whole_incident_is_shown_and_no_span_of_it_hangs_nowhere(outcome: Outcome, folder: Path) -> None:
    (incident,) = outcome.incidents
    done = CliRunner().invoke(app, ["incident", incident, "--data", str(folder / "seed-1"), "--json"])
    said = json.loads(done.output)
    assert [root["service"] for root in said["traces"]] == ["gateway"] and not said["traces"][0]["parentMissing"]
    assert [one for one in said["findings"] if one["kind"] != "slow"] == []
    path = [part for part in said["criticalPath"] if not part["pause"]]
    assert path[0]["name"].endswith("/ReportEmergency") and any(part["name"] == "step close_incident" for part in path)


@pytest.mark.sumo
def test_every_span_and_line_of_the_gateway_and_of_services_is_registered(outcome: Outcome, folder: Path) -> None:
    assert outcome.incidents
    data = folder / "seed-1"
    spans = spans_in(data / "traces.db")
    assert {span.service for span in spans} > {"gateway", "traffic"}
    assert wrong_spans(spans)[0] | wrong_lines(lines_in(data / "mesh.log"))[0] == set()
    assert wrong_in_access_log(lines_in(data / "access.log")) == set()


@pytest.mark.sumo
def test_every_signal_command_ends_back_in_the_plan(outcome: Outcome) -> None:
    (events,) = outcome.incidents.values()
    commands = [traffic.SignalCommanded.FromString(e.data.value) for e in events if e.type.endswith(".SignalCommanded")]
    assert commands
    for one in commands:
        assert one.program_id != "" and one.plan_phase_left_s > 0
        held = sum(interval.duration_s for interval in one.intervals if interval.purpose == "priority")
        assert held <= 60


@pytest.mark.sumo
def test_killed_half_way_nothing_acknowledged_is_lost_and_the_ride_is_the_same(outcome: Outcome, killed: Outcome) -> None:
    assert killed.killed is not None
    assert (killed.killed.lost, killed.killed.went_on_at) == (0, killed.killed.step)
    assert killed.killed.acknowledged > 0
    assert killed.results["city"]["calls"] == outcome.results["city"]["calls"]


@pytest.mark.sumo
def test_two_runs_of_one_seed_give_the_same_domain_events(outcome: Outcome, killed: Outcome) -> None:
    """The second was killed on the way: not even that changes what happened in the city."""
    assert happened(outcome) == happened(killed)


@pytest.mark.sumo
def test_an_engine_that_another_package_brings_gives_the_same_domain_events(outcome: Outcome, in_memory: Outcome) -> None:
    assert happened(outcome) == happened(in_memory)
    assert in_memory.results["city"]["calls"] == outcome.results["city"]["calls"]
