"""Whether the burst was found, shut off and told, and nothing else. Judged from the network by code that no service uses."""

from __future__ import annotations

from dataclasses import dataclass, field

from citybrain.urban.v1 import water_pb2 as pb

from citybrain.simulation.pipes import STEP_S
from citybrain.stories.burst.plan import BEGIN_H, Plan
from citybrain.stories.sheet import Check, Text

STEPS = 2
"""Within so many reporting steps a burst must be noticed."""
FEW = 5
"""The pipe that has burst must be among so many of those that the city names first."""


@dataclass(slots=True)
class Run:
    """What the city said. Seconds are those of the model."""

    plan: Plan
    leaks: list[pb.Leak] = field(default_factory=list)
    """Those that were found, or confirmed by the crew."""
    noticed_s: list[float] = field(default_factory=list)
    """When a leak was noticed: found, or suspected, so that somebody was sent to look."""
    told: set[str] = field(default_factory=set)
    """The districts whose customers were told."""
    orders: list[str] = field(default_factory=list)
    pressures: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """What was shown, by node: second, metres."""
    expected: dict[str, dict[float, float]] = field(default_factory=dict)
    """What would have been without the leak, without noise."""
    happened: list[tuple[float, Text]] = field(default_factory=list)
    """What else happened: seconds of the model, and what."""

    @property
    def steps_to_find(self) -> int | None:
        """How many reporting steps it took; None: it was not noticed, or something was before it was there."""
        leak = self.plan.leak
        if leak is None or not self.noticed_s or self.noticed_s[0] < leak.begin_s:
            return None
        return int((self.noticed_s[0] - leak.begin_s) // STEP_S) + 1

    @property
    def place(self) -> int | None:
        """At which place of the city's list the pipe stands that has burst, from 1; None: it is not in it."""
        leak = self.plan.leak
        if leak is None or not self.leaks:
            return None
        named = [one.pipe_id for one in self.leaks[0].candidates]
        return named.index(leak.pipe) + 1 if leak.pipe in named else None


def checks(run: Run) -> list[Check]:
    """All that must hold of a run."""
    leak = run.plan.leak
    if leak is None:
        hours = run.plan.hours - BEGIN_H
        quiet = Text(f"{hours} quiet hours, and nothing is raised", f"{hours} 小时一切正常，不应有告警")
        return [Check(quiet, f"{len(run.noticed_s)}", not run.noticed_s)]
    steps = run.steps_to_find
    found = [
        Check(
            Text(
                f"It is noticed within {STEPS} reporting steps, and not before it is there",
                f"{STEPS} 个上报周期内发现，且不早于实际发生",
            ),
            "–" if steps is None else str(steps),
            steps is not None and steps <= STEPS and len(run.noticed_s) == 1,
        ),
        Check(
            Text(f"The pipe is among the first {FEW} that are named", f"爆裂的管段在列出的前 {FEW} 条之中"),
            "–" if run.place is None else str(run.place),
            run.place is not None and run.place <= FEW,
        ),
    ]
    if not run.leaks:
        return found
    isolation = run.leaks[0].isolation
    shut = {(valve.pipe_id, valve.node_id) for valve in isolation.valves}
    dry = run.plan.pipes.without_water(shut)
    named = set(isolation.customer_node_ids)
    return [
        *found,
        Check(
            Text("With the named valves shut, no water reaches the pipes that are named", "关闭所列阀门后，水不再到达所列管段"),
            f"{len(shut)} valves 阀门",
            bool(shut) and not any(run.plan.pipes.reaches(pipe, shut) for pipe in isolation.pipe_ids),
        ),
        Check(
            Text("Those without water are those that are named", "停水用户与所列一致"),
            f"{len(named)} junctions 节点",
            dry == named,
        ),
        Check(
            Text("Their customers are told", "已通知停水用户"),
            ", ".join(sorted(run.told)) or "–",
            run.told == set(isolation.district_ids) or not named,
        ),
        Check(Text("There is a work order", "已生成工单"), ", ".join(run.orders) or "–", bool(run.orders)),
    ]
