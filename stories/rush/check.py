"""Whether the city did good and no harm. Judged from what the simulation measured, which knows no code of the city."""

from __future__ import annotations

from citybrain.stories.rush.run import CITY, PLAN, Run
from citybrain.stories.sheet import Check, Text

MORE = 1.01
"""The city must not take more than a hundredth longer than the plan."""
FEW = 0.01
"""So many of all vehicles more may be under way when the run is cut off: whoever is there in that second is chance."""


def checks(run: Run) -> list[Check]:
    """All that must hold of a run."""
    plan, city = run.results[PLAN], run.results[CITY]
    never = {which: result["others"]["unfinished"] + result["others"]["undeparted"] for which, result in run.results.items()}
    playing, out = city["signals"]["playing_at_end"], city["signals"]["out_of_step_at_end"]
    return [
        Check(
            Text("Nobody takes longer than with the plan, on the average", "平均出行时间不长于固定配时"),
            f"{run.mean_s(CITY):.1f} s, {run.mean_s(PLAN):.1f} s",
            run.mean_s(CITY) <= MORE * run.mean_s(PLAN),
        ),
        Check(
            Text("Not more are still under way at the end", "结束时仍在途的车辆不多于固定配时"),
            f"{never[CITY]}, {never[PLAN]}",
            never[CITY] <= never[PLAN] + FEW * run.vehicles,
        ),
        Check(
            Text("An independent checker looked at every signal in every second", "独立检查器逐秒检查每处信号"),
            f"{city['safety_findings']}",
            city["safety_findings"] <= plan["safety_findings"],
        ),
        Check(
            Text("There are no more collisions", "碰撞不多于固定配时"),
            f"{city['collisions']}, {plan['collisions']}",
            city["collisions"] <= plan["collisions"],
        ),
        Check(
            Text(
                "Given back, every signal is in its plan, in step with its clock",
                "交还之后，每处信号均回到其配时方案并与时钟同步",
            ),
            f"{len(playing) + len(out)}",
            not playing and not out,
        ),
        Check(
            Text("Commands were carried out", "指令已执行"),
            f"{city['signals']['commands']}",
            city["signals"]["commands"] > 0 and city["signals"]["refused"] <= city["signals"]["commands"] / 100,
        ),
    ]
