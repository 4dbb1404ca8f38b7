"""Several processes of traffic: one of them controls an area, whoever is told what is seen; when it ends, another one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from citybrain.traffic.v1 import area_control_pb2 as control
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing import Running, running
from citybrain.mesh.testing.parts import greenlets
from citybrain.services.traffic import strategies, watch
from citybrain.services.traffic.observed import Observations, Observed
from citybrain.services.traffic.service import TrafficService
from tests.unit.traffic.junction import with_lanes
from tests.unit.traffic.signals import crossing
from tests.unit.traffic.test_control_strategies import ADAPTIVE, SECOND, apply, commands, seen, why

PASSED = "citybrain.traffic.v1.AreaTraffic.passed"


class Two:
    """Two processes on the same data and at the same moment. The first one leads."""

    def __init__(self, first: Running, second: Running) -> None:
        self.first, self.second = first, second
        now = self.advance(30 - first.advance() / SECOND % 30)
        signal = with_lanes(crossing(start=now // SECOND - 50))
        first.fire("RegisterSignal", pb.RegisterSignalRequest(signal=signal))
        first.rest()
        apply(first, ADAPTIVE, "x")
        # The other one looks now and then whether rows have changed.
        greenlets().run(lambda: second.parts.until(lambda: "x" in listed(second)))

    def advance(self, seconds: float = 0) -> int:
        self.second.advance(seconds)
        return self.first.advance(seconds)

    def report(self, to: Running, waiting: float = 5) -> None:
        to.fire("ReportSignalTraffic", seen(self.advance(), waiting))

    def commanded(self, count: int) -> list[ev.SignalCommanded]:
        """As soon as there are so many."""
        greenlets().run(lambda: self.first.parts.until(lambda: len(commands(self.first)) >= count))
        return commands(self.first)

    def end_first(self) -> None:
        """It is killed, as far as its work goes: nothing is tidied up."""
        self.first.parts.process.read_models["traffic"].leadership.give_up()
        greenlets().run(lambda: self.second.parts.until(self.second.parts.process.read_models["traffic"].leadership.take))


def listed(process: Running) -> dict[str, str]:
    """Of each signal that follows the traffic its area, as a process knows it."""
    (view,) = [one for one in process._container.dependencies if getattr(one, "attr_name", "") == "area_list"]
    found: dict[str, str] = view.derived(strategies.adaptive)
    return found


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with running(TrafficService, folder=tmp_path) as first, running(TrafficService, folder=tmp_path) as second:
        yield Two(first, second)


def test_what_is_reported_to_any_process_is_decided_on_by_the_one_that_has_the_area(two: Two) -> None:
    two.report(two.second)
    (command,) = two.commanded(1)
    assert [interval.state for interval in command.intervals][:3] == ["rry", "rrr", "Grr"]
    # Only there it is known how long vehicles waited. Why is said by both.
    assert why(two.first).claims == why(two.second).claims == command.claims
    assert why(two.first).reason == why(two.second).reason == command.reason
    assert why(two.first).phase == why(two.second).phase == 0


def test_where_nothing_was_commanded_a_process_without_the_area_says_that(two: Two) -> None:
    assert why(two.first).reason == "nothing is reported of what is seen before it"
    assert why(two.second).reason == "another process controls its area, and has commanded nothing of late"


def test_when_the_process_that_has_an_area_ends_the_next_report_is_decided_on_by_another(two: Two) -> None:
    two.end_first()
    two.report(two.second)
    assert len(two.commanded(1)) == 1
    assert why(two.second).decided_at.seconds * SECOND == two.advance() + SECOND


def test_an_answer_that_comes_to_another_process_is_known_where_the_area_is(two: Two) -> None:
    two.report(two.first)
    (command,) = two.commanded(1)
    refused = pb.SIGNAL_REPORT_REFUSED
    answer = pb.ReportSignalRequest(signal_id="x", command_id=command.command_id, report=refused, state="rrG")
    two.second.fire("ReportSignal", answer)
    # If that were not known, nothing would be commanded for some seconds.
    two.advance(1)
    two.report(two.first)
    assert len(two.commanded(2)) == 2


def test_what_was_passed_on_long_ago_is_left_out(two: Two) -> None:
    now = two.advance()
    old = control.AreaTraffic(area_id="west", observed_at=timestamp(now), signals=seen(now).signals)
    for ago in (5.1, 0):
        received = now - int(ago * SECOND)
        put = two.first.parts.process.engine.readings.put
        greenlets().run(lambda: wait(put(PASSED, received, old.SerializeToString())))  # noqa: B023 It runs at once.
        two.first.rest()
        assert len(commands(two.first)) == (0 if ago else 1)


def test_what_is_passed_on_for_an_area_of_another_process_is_left_to_it(two: Two) -> None:
    two.report(two.second)
    two.commanded(1)
    two.second.rest()
    assert "x" not in watches(two.second)
    assert "x" in watches(two.first)


def observed(process: Running) -> Observations:
    (provider,) = [one for one in process._container.dependencies if isinstance(one, Observed)]
    return provider._now


def watches(process: Running) -> dict[str, watch.Watch]:
    return observed(process).watches


def test_a_signal_of_which_nothing_came_for_half_a_minute_is_watched_anew(two: Two) -> None:
    two.report(two.first)
    before = watches(two.first)["x"]
    for seconds, same in ((watch.FORGOTTEN_S, True), (watch.FORGOTTEN_S + 1, False)):
        two.advance(seconds)
        two.report(two.first)
        assert (watches(two.first)["x"] is before) == same
        before = watches(two.first)["x"]


def test_the_street_is_known_where_it_is_looked_at_whoever_is_told(two: Two) -> None:
    now = two.advance()
    queue = pb.Queue(edge_id="west", vehicles=3)
    two.second.fire("ReportObservations", pb.ReportObservationsRequest(observed_at=timestamp(now), queues=[queue]))
    greenlets().run(lambda: two.first.parts.until(lambda: observed(two.first).street.queues == {"west": 3}))
    assert observed(two.second).street.queues == {}
