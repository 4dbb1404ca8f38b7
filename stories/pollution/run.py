"""Plays one day in a city of its own, and keeps what the city said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from citybrain.credit.v1 import events_pb2 as credit
from citybrain.district_hub.v1.events_pb2 import DistrictNotified
from citybrain.environment.v1 import events_pb2 as ev
from citybrain.events.v1.event_pb2 import Event

from citybrain.simulation.air_run import AirRun, credit_code
from citybrain.simulation.gateway_client import Gateway
from citybrain.stories.driven import driven_city, unpacked
from citybrain.stories.pollution.check import Day
from citybrain.stories.pollution.officials import CORRECTED_S, DECIDED_S, HEARD_S, INSPECTED_S, Officials
from citybrain.stories.pollution.plan import BEGIN_S, END_S, STATIONS, Plan
from citybrain.stories.sheet import Text

_STEPS: dict[Any, Callable[[Any], Text]] = {
    ev.InspectionOrdered: lambda e: Text(f"Inspection ordered: {e.inspection.reason}", f"下达检查：{e.inspection.reason}"),
    ev.InspectionReported: lambda e: Text(f"Inspectors report: {e.finding}", f"检查结果：{e.finding}"),
    ev.CaseOpened: lambda e: Text(f"Case opened against {e.source_id}", f"对 {e.source_id} 立案"),
    ev.MeasuresOrdered: lambda e: Text(f"{e.measures.source_id} must stop", f"责令 {e.measures.source_id} 停产"),
    ev.DecisionRecorded: lambda e: Text(f"Decided: {e.decision.text}; {e.decision.law}", f"作出决定：{e.decision.law}"),
    credit.SanctionImposed: lambda e: Text(f"Sanction in force: {e.sanction.law}", f"联合惩戒生效：{e.sanction.law}"),
    ev.CorrectionOrdered: lambda e: Text(f"Correction ordered: {e.what}", f"责令整改：{e.what}"),
    ev.CorrectionAccepted: lambda e: Text(f"Correction accepted: {e.finding}", f"整改验收：{e.finding}"),
    ev.MeasuresLifted: lambda e: Text(f"{e.source_id} may run again", f"{e.source_id} 恢复生产"),
    credit.RecordRepaired: lambda e: Text("Credit repaired; the history stays", "信用修复，记录保留"),
}
_TYPES = (ev.ExceedanceSuspected, ev.ExceedanceVerified, ev.SourceTraced, DistrictNotified, *_STEPS)
HEARD = [one.DESCRIPTOR.full_name for one in _TYPES]


def play(plan: Plan, data: Path, tell: Callable[[str], None]) -> Day:
    """Plays the day of a plan. `data`: a folder for the city; `tell`: gets a sentence when something happens."""
    with driven_city(data, plan.seed, tell) as gateway:
        return play_in(gateway, plan, tell)


def play_in(gateway: Gateway, plan: Plan, tell: Callable[[str], None], midnight: int = 0) -> Day:
    """Plays it in a city that is there, as the day that begins at second `midnight`."""
    return _Player(gateway, plan, tell, midnight).day()


class _Player:
    """Whoever is outside of the city on that day."""

    def __init__(self, gateway: Gateway, plan: Plan, tell: Callable[[str], None], midnight: int) -> None:
        self._gateway = gateway
        self._tell = tell
        self._day = Day(plan, midnight)
        self._run = AirRun(gateway, STATIONS, HEARD)
        self._officials: Officials | None = None

    def day(self) -> Day:
        """Plays it."""
        day, plan = self._day, self._day.plan
        self._run.begin(plan.park.sensors, plan.stacks, day.midnight + BEGIN_S)
        if plan.culprit is not None:
            self._officials = Officials(self._gateway, day.midnight, credit_code(plan.stacks.index(plan.culprit)))
        for _ in self._run.play(plan.park, day.midnight, BEGIN_S, END_S, self._act):
            pass
        day.sent = self._run.sent
        if self._officials is not None and day.verified:
            self._follow_up(self._officials, day.verified[0].exceedance_id)
        return day

    def _follow_up(self, officials: Officials, saga_id: str) -> None:
        """What people do when the readings are over."""
        steps: tuple[tuple[int, Callable[[], None]], ...] = (
            (INSPECTED_S, lambda: officials.inspect(saga_id)),
            (HEARD_S, lambda: officials.answer(saga_id, "hear_firm", "heard", "heard at the bureau 已听取陈述")),
            (DECIDED_S, lambda: officials.answer(saga_id, "decide", "sanction", "as the law has it 依法处罚")),
            (DECIDED_S + 600, officials.ask),
            (CORRECTED_S, lambda: officials.correct(saga_id)),
            (CORRECTED_S + 600, officials.ask),
        )
        for second, act in steps:
            self._gateway.advance(self._day.midnight + second)
            self._run.rhythm.settle(self._day.midnight + second, self._act)
            act()
            self._run.rhythm.settle(self._day.midnight + second, self._act)
        officials.take_evidence(saga_id)
        self._day.verdict = officials.verdict

    def _act(self, now: int, event: Event) -> None:
        day, second = self._day, float(now - self._day.midnight)
        if (suspected := unpacked(event, ev.ExceedanceSuspected)) is not None:
            day.suspected.append(suspected)
        elif (verified := unpacked(event, ev.ExceedanceVerified)) is not None:
            day.verified.append(verified)
            self._tell(
                f"{verified.exceedance_id}: SO2 above {verified.limit:.0f} µg/m³, read by {len(verified.station_ids)} sensors"
            )
        elif (traced := unpacked(event, ev.SourceTraced)) is not None:
            day.trace, day.traced_s = traced.trace, second
            self._tell(traced.trace.statement)
        elif self._officials is not None:
            self._officials.hear(event)
        for kind, words in _STEPS.items():
            if (step := unpacked(event, kind)) is not None:
                day.told.append((second, words(step)))
