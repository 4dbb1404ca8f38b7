"""Plays one run in a city of its own, and keeps what the city said of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.events.v1.event_pb2 import Event
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1.water_pb2 import LeakCandidate

from citybrain.simulation.gateway_client import Gateway
from citybrain.simulation.pipes import Pipes
from citybrain.simulation.pipes_run import DISTRICTS, HUB, PipesRun
from citybrain.stories.burst.check import Run
from citybrain.stories.burst.plan import BEGIN_H, Plan
from citybrain.stories.driven import driven_city, unpacked
from citybrain.stories.sheet import Text

_TYPES = (ev.LeakFound, ev.LeakLocated, ev.IsolationPlanned, ev.CustomersTold, ev.WorkOrderOpened)
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
        for _ in company.play(pipes, self._midnight, begin, end, self._act):
            pass
        shown, expected = dict(pipes.steps()), dict(quiet.true())
        for node in plan.sensors:
            run.pressures[node] = [(second, row[node]) for second, row in shown.items() if begin < second <= end]
            run.expected[node] = {second: row[node] for second, row in expected.items()}
        return run

    def _act(self, now: int, event: Event) -> None:
        run = self._run
        # What belongs to no district comes on the stream of each.
        if event.id in self._heard:
            return
        self._heard.add(event.id)
        if (found := unpacked(event, ev.LeakFound)) is not None:
            run.leaks.append(found.leak)
            run.found_s.append(now - self._midnight)
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


def _pipes(candidates: Iterable[LeakCandidate]) -> str:
    return ", ".join(one.pipe_id for one in itertools.islice(candidates, 5))
