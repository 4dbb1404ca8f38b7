"""Whether the city found what was hidden, and nothing else. Judged from what was played, by code that no service uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.client import evidence
from citybrain.simulation.air import STEP_S, Place
from citybrain.simulation.air_run import in_park
from citybrain.simulation.moments import MIDNIGHT
from citybrain.stories.pollution.officials import Verdict
from citybrain.stories.pollution.plan import Plan
from citybrain.stories.sheet import Check, Text

TOGETHER_S = 15 * 60
"""Two sensors confirm each other where they read above the limit within this time."""
SOON_S = 30 * 60
"""A source must be noticed within this time."""
NEAR_M = 150.0
"""The place that is traced must be so near to the true one."""


@dataclass(slots=True)
class Day:
    """What the city said on one day, which begins at second `midnight` of the run; `sent`: the readings that it got."""

    plan: Plan
    midnight: int
    suspected: list[ev.ExceedanceSuspected] = field(default_factory=list)
    verified: list[ev.ExceedanceVerified] = field(default_factory=list)
    trace: pb.Trace | None = None
    traced_s: float | None = None
    sent: Sequence[pb.Reading] = ()
    verdict: Verdict | None = None
    """What came of the case against a firm; None: there was none."""
    told: list[tuple[float, Text]] = field(default_factory=list)
    """What else happened: seconds of the day, and what."""

    def second(self, moment: Timestamp) -> float:
        """A moment as a second of the day."""
        return moment.ToMicroseconds() / 1e6 - MIDNIGHT.timestamp() - self.midnight

    @property
    def traced(self) -> Place | None:
        """Where the city says that it comes from: a place, or else the first source of its answer."""
        if self.trace is None:
            return None
        if self.trace.HasField("place"):
            return in_park(self.trace.place)
        return next((in_park(one.place) for one in self.trace.sources if one.found), None)

    @property
    def apart_m(self) -> float | None:
        """How far the traced place is from the true one, in metres."""
        release, traced = self.plan.park.release, self.traced
        return None if release is None or traced is None else release.place.to(traced)

    @property
    def firm(self) -> str:
        """The source that is the answer; empty: none is, only a place."""
        return next((one.source_id for one in self.trace.sources if one.found), "") if self.trace is not None else ""

    @property
    def found(self) -> bool:
        """Whether the hidden source was noticed."""
        release = self.plan.park.release
        return release is not None and any(self._soon(one, release.begin_s) for one in self.verified)

    def _soon(self, one: ev.ExceedanceVerified, begin_s: float) -> bool:
        return begin_s <= self.noticed(one) <= begin_s + SOON_S

    def noticed(self, one: ev.ExceedanceVerified) -> float:
        """The second of the day at which its first reading was there: at the end of the five minutes that it is of."""
        return self.second(one.first_at) + STEP_S


def checks(day: Day) -> list[Check]:
    """All that must hold of a day."""
    if day.plan.park.release is None:
        return [
            Check(Text("Nothing is wrong, and nothing is raised", "一切正常，不应有告警"), _counted(day), not day.suspected),
            Check(Text("Hours are reported all the same", "各站点小时数据照常上报"), str(len(day.sent)), len(day.sent) > 0),
        ]
    release, apart = day.plan.park.release, day.apart_m
    early = [one for one in day.suspected if day.second(one.reading.measured_at) + STEP_S <= release.begin_s]
    return [
        Check(
            Text("It is noticed within half an hour, and not before it is there", "半小时内发现，且不早于实际发生"),
            _counted(day),
            day.found and not early,
        ),
        Check(
            Text("Two sensors that read above the limit within 15 minutes confirm it", "两个传感器在 15 分钟内相互印证超标"),
            ", ".join(day.verified[0].station_ids) if day.verified else "–",
            bool(day.verified) and all(_confirmed(one, day.sent) for one in day.verified),
        ),
        Check(
            Text("The traced place is at most 150 m from the true one", "溯源地点与真实地点相距不超过 150 米"),
            "–" if apart is None else f"{apart:.0f} m",
            apart is not None and apart <= NEAR_M,
        ),
        _named(day),
        *(_judged(day.verdict, day.verified) if day.verdict is not None and day.verified else ()),
    ]


def _named(day: Day) -> Check:
    if day.plan.culprit is None:
        nobody = Text("No firm is named: it belongs to none of them", "不应指认任何企业：它不属于其中任何一家")
        return Check(nobody, day.firm or "–", not day.firm)
    firm = Text("The firm that hid it is named", "指认出隐藏排放的企业")
    return Check(firm, day.firm or "–", day.firm == day.plan.culprit.source_id)


def _judged(verdict: Verdict, verified: Sequence[ev.ExceedanceVerified]) -> list[Check]:
    report = evidence.verify(verdict.lines, verdict.head)
    whole = b"".join(verdict.lines).decode()
    names = [station for station in verified[0].station_ids if f'"{station}"' not in whole]
    told = [credit.CreditDecision.Name(one).removeprefix("CREDIT_DECISION_") for one in verdict.credit]
    return [
        Check(
            Text("The evidence is whole, and has the stations that read it", "证据链完整，并含有测得超标的站点"),
            f"{report.records} records 条记录",
            report.sound and report.records > 0 and not names,
        ),
        Check(
            Text(
                "The firm has no subsidy from the decision on, until it has put it right",
                "自处罚决定起，至整改完成前，企业不得享受补贴",
            ),
            " → ".join(told),
            len(told) == 3 and told[1] == "RESTRICTED" and told[0] != "RESTRICTED" and told[2] == "CLEAR",
        ),
    ]


def _counted(day: Day) -> str:
    return f"{len(day.suspected)} suspected 疑似, {len(day.verified)} verified 已核实"


def _confirmed(one: ev.ExceedanceVerified, sent: Iterable[pb.Reading]) -> bool:
    """Whether what was sent has two stations of those named above the limit, within 15 minutes of the first."""
    first = one.first_at.ToSeconds()
    above = {
        reading.station_id
        for reading in sent
        if reading.sensor_id == "SO2"
        and reading.value > one.limit
        and abs(reading.measured_at.ToSeconds() - first) <= TOGETHER_S
    }
    return len(above & set(one.station_ids)) >= 2
