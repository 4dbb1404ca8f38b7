"""What a service tells of its store and subscriptions on real engines: each number is there, and moves with what it counts."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from citybrain.probe.v1.events_pb2 import Written
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from citybrain.local.child import MeshChild
from citybrain.local.engine_processes import EngineProcesses
from citybrain.mesh.events import timestamp
from citybrain.mesh.operations import targets
from citybrain.mesh.settings.values import Metrics, Settings
from citybrain.observability import names
from citybrain.observability.numbers import BY_NAME, NUMBERS, label
from tests.contract.runtime.probing import PROBE, Probe
from tests.contract.runtime.test_nameko import STUBS
from tests.helpers.waiting import until

GROUP = "probe.answer"
LIMIT_S = 20
# Of the others it is the same, whatever the engines.
OF_STORE = [one for one in NUMBERS if names.STORE in one.labels]
OF_GROUPS = [one for one in NUMBERS if names.CONSUMER_GROUP in one.labels]


class Told:
    """A process of the probe on both engines, and what it tells Prometheus."""

    def __init__(self, child: MeshChild, settings: Settings) -> None:
        self.probe = Probe(child)
        self.mesh = MeshServiceStub(self.probe.channel)
        (file,) = (settings.data / targets.FOLDER).glob("mesh-*.json")
        (group,) = json.loads(file.read_text(encoding="utf-8"))
        self._address = f"http://{group['targets'][0]}{group['labels']['__metrics_path__']}"

    def value(self, name: str, part: str = "", **wanted: str) -> float | None:
        """The sum of the series with these labels; None: there is none."""
        asked = urllib.request.Request(self._address, headers={"Accept": "application/openmetrics-text; version=1.0.0"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=LIMIT_S) as answer:  # noqa: S310
            text = answer.read().decode()
        found = [
            one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
            if one.name == BY_NAME[name].prometheus + part and wanted.items() <= one.labels.items()
        ]
        return sum(found) if found else None

    def of_group(self, name: str, part: str = "") -> float:
        """A number of the subscription."""
        return self.value(name, part, **{label(names.CONSUMER_GROUP): GROUP}) or 0.0

    def of_store(self, name: str, part: str = "", **more: str) -> float:
        """A number of the store."""
        return self.value(name, part, **{label(names.STORE): "distributed"}, **more) or 0.0


@pytest.fixture
def told(settings: Settings) -> Iterator[Told]:
    listening = settings.model_copy(update={"metrics": Metrics(listen="127.0.0.1:0")})
    path = os.pathsep.join([str(PROBE), str(STUBS)])
    with MeshChild(settings.data, ["probe", "--folder", str(PROBE)], {"PYTHONPATH": path}, listening) as child:
        found = Told(child, listening)
        yield found
        found.probe.close()


def test_each_number_of_store_and_subscriptions_moves_with_what_it_counts(told: Told, engines: EngineProcesses) -> None:
    # So many at once that some write of another comes in between.
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda number: told.probe.write("one", f"text {number}"), range(20)))
    told.probe.until_notes("heard", lambda notes: len(notes) >= 20)
    for one in (*OF_STORE, *OF_GROUPS):
        part = "_count" if one.kind == "histogram" else ""
        assert told.value(one.name, part) is not None, one.name
    of_appends = (names.STORE_DURATION, "_count")
    assert told.of_store(*of_appends, **{label(names.ERROR_TYPE): ""}) >= 20
    assert told.of_store(*of_appends, **{label(names.ERROR_TYPE): "Conflict"}) > 0
    assert told.of_store(names.STORE_DURATION, "_sum") > 0
    assert told.value(names.EVENTS_APPENDED, **{label(names.EVENT_TYPE): Written.DESCRIPTOR.full_name}) == 20
    assert told.of_group(names.HANDLING_DURATION, "_count") == 20

    # A subscription that stands still is behind, and what it has not handled grows old.
    fault = pb.Fault(fault_id="still", kind=pb.FAULT_KIND_STALL, service="probe", target=GROUP, who="test")
    fault.until.CopyFrom(timestamp(time.time_ns() // 1000 + 600_000_000))
    told.mesh.SetFault(pb.SetFaultRequest(fault=fault), timeout=LIMIT_S)
    told.probe.write("one", "later")
    behind = (names.GROUP_LAG, names.GROUP_AGE, names.GROUP_STILL)
    until(lambda: all(told.of_group(name) > 0 for name in behind), behind)
    told.mesh.ClearFaults(pb.ClearFaultsRequest(), timeout=LIMIT_S)
    until(lambda: not any(told.of_group(name) for name in behind), behind)

    # An event that cannot be handled is tried again, and then waits for a person.
    told.probe.write("two", "poison")
    until(lambda: told.of_group(names.GROUP_FAILING) == 1, "fails")
    until(lambda: told.of_group(names.GROUP_PARKED) == 1 and not told.of_group(names.GROUP_FAILING), "parked")

    # While Kafka stands still, events are in their streams and not in the log.
    late = (names.LOG_BEHIND, names.LOG_BEHIND_AGE)
    engines.kafka.pause()
    try:
        told.probe.write("one", "not in the log yet")
        until(lambda: all(told.of_store(name) > 0 for name in late), late)
    finally:
        engines.kafka.resume()
    until(lambda: not any(told.of_store(name) for name in late), late)
    told.probe.until_notes("heard", lambda notes: "not in the log yet" in notes)
