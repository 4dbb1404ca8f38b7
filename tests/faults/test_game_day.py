"""A game day: six faults are switched on, one after the other or two that do not hide each other, in a city of two processes.
For each the alert is raised, and `city incident` names the culprit of an emergency that is reported meanwhile
(docs/game-day.md): by what is found of it, not only because the fault has a name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.local.city import LocalCity
from citybrain.mesh.operations import targets
from citybrain.mesh.settings.values import Log, Metrics, Processes, Settings
from tests.helpers.city_command import run
from tests.helpers.paper_city import WallCity
from tests.helpers.prometheus import Prometheus
from tests.helpers.waiting import until

DEPARTMENTS = ("emergency_command", "district_hub", "health", "traffic", "sagas")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is switched on; the alert that it raises; what is found of an incident: who, and in which words."""

    of: str
    kind: str
    words: tuple[str, ...]
    alert: str
    finding: str
    said: str


SLOW = Fault("traffic", "latency", ("--seconds", "1.2"), "CityObjectiveBurnsFast", "slow", "by itself")
SKEWED = Fault("health", "clock-skew", ("--seconds", "60"), "CityClockWrong", "failed", "60 s ahead")
# Once it was begun again it is told so.
STALLED = Fault("sagas", "stall", ("--target", "sagas.hear"), "CitySubscriptionStalled", "failed", "nothing was done for 3 s")
FAILING = Fault("health", "errors", (), "CityObjectiveBurnsFast", "failed", "HealthService/ReserveAmbulance")
POISONED = Fault("sagas", "poison", ("--target", "sagas.hear"), "CitySubscriptionFails", "failed", "Poisoned")
UNLED = Fault("sagas", "lost-lead", (), "CityServiceUnled", "waits", "no process leads sagas")
ROUNDS = ((SLOW, SKEWED), (STALLED,), (FAILING,), (POISONED,), (UNLED,))


@dataclass(frozen=True, slots=True)
class Day:
    """The city, whoever calls it, and who reads its numbers."""

    folder: Path
    people: WallCity
    prometheus: Prometheus

    def alerts(self) -> set[tuple[str, str]]:
        """Alerts whose condition holds now, with the service that they name, if they do."""
        found = self.prometheus.ask("query", query="ALERTS")["result"]
        return {(one["metric"]["alertname"], one["metric"].get("city_service", "")) for one in found}

    def ask(self) -> None:
        """In a city somebody always asks something."""

        def one(stub: Any, request: Any) -> None:
            with contextlib.suppress(grpc.RpcError):
                stub(request, timeout=20)

        asked = (self.people.traffic.ListClosedRoads, traffic.ListClosedRoadsRequest())
        other = (self.people.health.ListAmbulances, health.ListAmbulancesRequest())
        with ThreadPoolExecutor(10) as people:
            for question in (asked, other) * 5:
                people.submit(one, *question)

    def findings(self, incident_id: str) -> list[dict[str, Any]]:
        """What `city incident` has to say first."""
        found: list[dict[str, Any]] = json.loads(run(self.folder, "incident", incident_id, "--json").stdout)["findings"]
        return found


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    folder = tmp_path_factory.mktemp("day")
    settings = Settings(
        # Half a minute is long for a test: a subscription that stands still is begun again sooner.
        data=folder / "data", log=Log(level="info"), metrics=Metrics(listen="127.0.0.1:0"), stalled_s=3,
        processes=Processes(groups=(("health",), tuple(one for one in DEPARTMENTS if one != "health"))),
    )  # fmt: skip
    with LocalCity(settings, only=DEPARTMENTS) as city:
        assert city.gateway is not None
        people = WallCity(city.gateway.address, folder / "data")
        people.build(ambulances=8, places=8)
        targets_of = folder / "data" / targets.FOLDER
        with Prometheus(tmp_path_factory.mktemp("prometheus"), targets_of, rules_of=("city", *DEPARTMENTS)) as prometheus:
            found = Day(folder, people, prometheus)
            # A rate is known from the second reading on.
            found.ask()
            prometheus.until(lambda: len(prometheus.values("city_service_ready == 1")) == len(DEPARTMENTS))
            yield found
        people.close()


@pytest.mark.parametrize("faults", ROUNDS, ids=[", ".join(f"{one.kind} of {one.of}" for one in faults) for faults in ROUNDS])
def test_the_alert_is_raised_and_the_incident_names_the_culprit(day: Day, faults: tuple[Fault, ...]) -> None:
    for fault in faults:
        done = run(day.folder, "fault", "set", fault.of, fault.kind, *fault.words, "--for", "600", "--reason", "a game day")
        assert done.returncode == 0, done
    try:
        incident_id = day.people.report(f"an emergency, with {faults}")

        def named(fault: Fault) -> bool:
            found = [one for one in day.findings(incident_id) if one["kind"] == fault.finding and fault.said in one["text"]]
            return any(fault.of in one["who"] for one in found)

        def raised(fault: Fault) -> bool:
            day.ask()
            return bool({(fault.alert, fault.of), (fault.alert, ""), (fault.alert, "mesh")} & day.alerts())

        for fault in faults:
            until(partial(named, fault), f"{fault.of} is named", limit_s=90)
            until(partial(raised, fault), f"{fault.alert} is raised", limit_s=90)
    finally:
        run(day.folder, "fault", "clear")
    # Afterwards the emergency goes on by itself.
    until(lambda: day.people.step(incident_id, "reserve_ambulance") == "done", "an ambulance is reserved", limit_s=120)
