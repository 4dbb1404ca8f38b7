"""Plays one run in a city of its own, and keeps what the city said of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.events.v1.event_pb2 import Event
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import water_pb2 as pb

from citybrain.simulation.gateway_client import Gateway
from citybrain.simulation.pipes import Pipes
from citybrain.simulation.pipes_run import DISTRICTS, HUB, URBAN, PipesRun
from citybrain.stories.burst.check import Run
from citybrain.stories.burst.plan import BEGIN_H, Plan
from citybrain.stories.driven import driven_city, unpacked
from citybrain.stories.sheet import Text

_TYPES = (ev.LeakSuspected, ev.LeakFound, ev.LeakLocated, ev.IsolationPlanned, ev.CustomersTold, ev.WorkOrderOpened)
HEARD = [one.DESCRIPTOR.full_name for one in _TYPES]


def play(plan: Plan, data: Path, tell: Callable[[str], None]) -> Run:
    """Plays a plan. `data`: a folder for the city; `tell`: gets a sentence when something happens."""
    with driven_city(data, plan.seed, tell) as gateway:
        return play_in(gateway, plan, tell)


def play_in(gateway: Gateway, plan: Plan, tell: Callable[[str], None], midnight: int = 0) -> Run:
    """Plays it in a city that is there; the hour 0 of the model is at second `midnight`."""
    return _Player(gateway, plan, tell, midnight).run()


class _Player:
    """The water company, its crew, and whoever follows what the city says."""

    def __init__(self, gateway: Gateway, plan: Plan, tell: Callable[[str], None], midnight: int) -> None:
        self._gateway = gateway
        self._tell = tell
        self._midnight = midnight
        self._run = Run(plan)
        self._heard: set[str] = set()
        self._to_look_at: list[pb.Leak] = []

    def run(self) -> Run:
        """Plays it."""
        run, plan = self._run, self._run.plan
        company = PipesRun(self._gateway, f"net3-{plan.seed}-{self._midnight}", plan.pipes.coordinates)
        self._gateway.advance(self._midnight + BEGIN_H * 3600)
        company.begin(plan.sensors, sorted(plan.pipes.demands), self._midnight)
        for district in DISTRICTS:
            self._gateway.follow(
                f"district-{district}-{self._midnight}",
                f"{HUB}/Subscribe",
                lambda token, name=district: hub.SubscribeRequest(  # type: ignore[misc]
                    district_id=name, event_types=HEARD, resume_token=token, from_now=not token
                ),
                hub.SubscribeResponse,
            )
        pipes = Pipes(plan.sensors, plan.hours, plan.seed, plan.leak)
        quiet = Pipes(plan.sensors, plan.hours, plan.seed)
        begin, end = BEGIN_H * 3600, plan.hours * 3600
        for second in company.play(pipes, self._midnight, begin, end, self._act):
            while self._to_look_at:
                self._look(self._to_look_at.pop(), second)
                company.rhythm.settle(self._midnight + second, self._act)
        shown, expected = dict(pipes.steps()), dict(quiet.true())
        for node in plan.sensors:
            run.pressures[node] = [(second, row[node]) for second, row in shown.items() if begin < second <= end]
            run.expected[node] = {second: row[node] for second, row in expected.items()}
        return run

    def _look(self, leak: pb.Leak, second: int) -> None:
        """The crew goes where one sensor alone shows a leak, and says whether it sees water. Which pipe it is, nobody tells."""
        burst = self._run.plan.leak
        is_lost = burst is not None and second >= burst.begin_s
        finding = "Water comes out of the ground. 地面冒水。" if is_lost else "The sensor is wrong. 传感器故障。"
        request = pb.ReportLookedAtRequest(leak_id=leak.leak_id, water_is_lost=is_lost, finding=finding)
        self._gateway.call(f"{URBAN}/ReportLookedAt", request, pb.ReportLookedAtResponse, f"looked-at/{leak.leak_id}")

    def _act(self, now: int, event: Event) -> None:
        run = self._run
        # What belongs to no district comes on the stream of each.
        if event.id in self._heard:
            return
        self._heard.add(event.id)
        if (suspected := unpacked(event, ev.LeakSuspected)) is not None:
            run.noticed_s.append(now - self._midnight)
            self._to_look_at.append(suspected.leak)
            pipes, sensor = _pipes(suspected.leak.candidates), suspected.leak.suspect_device_id
            self._tell(f"{suspected.leak_id}: sensor {sensor} alone shows a leak; somebody goes and looks")
            self._happened(
                now,
                f"Sensor {sensor} alone shows a leak: it is wrong, or pipe {pipes} leaks. A crew goes and looks",
                f"仅传感器 {sensor} 显示异常：传感器故障或管段 {pipes} 漏损，派人现场查看",
            )
        elif (found := unpacked(event, ev.LeakFound)) is not None:
            run.leaks.append(found.leak)
            if not found.leak.suspect_device_id:
                run.noticed_s.append(now - self._midnight)
            pipes = _pipes(found.leak.candidates)
            self._tell(f"{found.leak_id}: most likely pipes {pipes}")
            self._happened(now, f"Leak found; most likely pipes: {pipes}", f"发现漏损；最可能的管段：{pipes}")
        elif (located := unpacked(event, ev.LeakLocated)) is not None:
            del run.leaks[-1].candidates[:]
            run.leaks[-1].candidates.extend(located.candidates)
            pipes = _pipes(located.candidates)
            self._happened(now, f"Seen better; most likely pipes: {pipes}", f"定位更准；最可能的管段：{pipes}")
        elif (planned := unpacked(event, ev.IsolationPlanned)) is not None:
            run.leaks[-1].isolation.CopyFrom(planned.isolation)
            valves = ", ".join(f"{one.pipe_id}@{one.node_id}" for one in planned.isolation.valves)
            self._happened(now, f"Valves to shut: {valves}", f"应关闭的阀门：{valves}")
        elif (told := unpacked(event, ev.CustomersTold)) is not None and told.water_off:
            run.told |= set(told.district_ids)
            self._happened(now, f"Customers are told: {told.text}", f"通知用户：{told.text}")
        elif (order := unpacked(event, ev.WorkOrderOpened)) is not None and order.subject_id in {
            leak.leak_id for leak in run.leaks
        }:
            run.orders.append(order.order_id)
            self._happened(now, f"Work order: {order.task}", f"工单：{order.task}")

    def _happened(self, now: int, english: str, chinese: str) -> None:
        self._run.happened.append((now - self._midnight, Text(english, chinese)))


def _pipes(candidates: Iterable[pb.LeakCandidate]) -> str:
    return ", ".join(one.pipe_id for one in itertools.islice(candidates, 5))
