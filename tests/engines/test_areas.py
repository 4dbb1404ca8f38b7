"""Areas of signals are spread over the processes of traffic; those of a process that is killed are controlled by the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
from citybrain.traffic.v1 import area_control_pb2 as control
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub

from citybrain.local.child import MeshChild
from citybrain.mesh.events import timestamp
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import calling
from tests.unit.traffic.junction import with_lanes
from tests.unit.traffic.signals import crossing

LIMIT_S = 60.0
SIGNALS = [f"x{number}" for number in range(8)]
NOT_NOW = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION)
ELSEWHERE = "another process controls its area"


def seen(signal_id: str) -> control.SignalTraffic:
    """Five wait on the road from the west, which has red."""
    lanes = [control.LaneTraffic(lane_id="west_0", waiting=5)]
    lanes += [control.LaneTraffic(lane_id=lane) for lane in ("west_1", "x-south_2")]
    return control.SignalTraffic(signal_id=signal_id, state="rrG", since_s=[20, 20, 20], lanes=lanes)


class Caller:
    """Calls one process of traffic; None where it is not there, or does not know the signal yet."""

    def __init__(self, process: MeshChild) -> None:
        self.stub: Any = TrafficServiceStub(calling(process))

    def __call__(self, method: str, request: Any) -> Any:
        try:
            return getattr(self.stub, method)(request, timeout=5)
        except grpc.RpcError as error:
            assert error.code() in NOT_NOW, error
            return None

    def why(self, signal_id: str) -> Any:
        return self("GetSignalControl", control.GetSignalControlRequest(signal_id=signal_id))

    def report(self) -> None:
        at = timestamp(time.time_ns() // 1000)
        self("ReportSignalTraffic", control.ReportSignalTrafficRequest(observed_at=at, signals=[seen(one) for one in SIGNALS]))

    def controls(self) -> set[str]:
        """The signals whose areas are with this process, while nothing was commanded yet."""
        return {one for one in SIGNALS if (said := self.why(one)) is not None and not said.reason.startswith(ELSEWHERE)}


def until(what: str, is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.2)


def test_each_area_is_controlled_by_one_process_and_by_another_when_that_one_is_killed(settings: Settings) -> None:
    first, second = (MeshChild(settings.data, ["traffic"], {}, settings, name) for name in ("first", "second"))
    with first, second:
        one, other = Caller(first), Caller(second)
        begins = int(time.time()) - 50
        for signal_id in SIGNALS:
            one("RegisterSignal", pb.RegisterSignalRequest(signal=with_lanes(crossing(signal_id, start=begins))))
        for signal_id in SIGNALS:
            asked = control.ApplyControlStrategyRequest(
                area_id=f"area {signal_id}", strategy=control.CONTROL_STRATEGY_ADAPTIVE, signal_ids=[signal_id], reason="test"
            )
            until(f"{signal_id} follows", lambda: one("ApplyControlStrategy", asked) is not None)  # noqa: B023 It waits here.

        def spread() -> bool:
            has = one.controls(), other.controls()
            return all(has) and set.union(*has) == set(SIGNALS) and not set.intersection(*has)

        until("each area is with one process, and each process has some", spread)

        def decided_after(caller: Caller, moment: float) -> bool:
            caller.report()
            return all(caller.why(signal_id).decided_at.seconds > moment for signal_id in SIGNALS)

        # What either process is told comes to whoever has the area.
        until("each signal is commanded", lambda: decided_after(one, 0))
        first.kill()
        killed = time.time()
        until("each signal is commanded anew", lambda: decided_after(other, killed))
