"""Updates both READMEs: the workflow from its file, and the results of the last benchmark.

`make readme` writes; `make check` fails where they have drifted.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
SAGA = ROOT / "sagas" / "workflows" / "emergency_response.py"
RIDES = ROOT / "benchmarks" / "rides.json"
RUSH = ROOT / "benchmarks" / "rush.json"
LATEST = ROOT / "benchmarks" / "latest.json"

_HEAD = {
    "en": "| | calls | ride, median | against obeying lights | against a siren alone | others, against a siren alone |",
    "zh": "| | 呼叫 | 行程中位数 | 与遵守信号灯相比 | 与仅鸣笛闪灯相比 | 其他车辆，与仅鸣笛闪灯相比 |",
}
_WAYS_HEAD = {
    "en": "| | ride in s: mean | nine of ten within | worst | over 30 s later than with a siren alone | never ended "
    "| red lights run, of signals passed | times the bound: of all, median |",
    "zh": "| | 行程（秒）：平均 | 九成不超过 | 最长 | 比仅鸣笛闪灯晚 30 秒以上 | 未到达 "
    "| 闯红灯次数 / 经过的信号灯 | 下限的倍数：总体、中位数 |",
}
_RUSH_HEAD = {
    "en": "| network | vehicles an hour | fixed plan | max pressure | the city | city / plan (worst seed) | the same by loops "
    "| city − plan "
    "| not arrived at the end, a run: plan / max pressure / city |",
    "zh": "| 路网 | 每小时车辆数 | 固定配时 | 最大压力 | 城市大脑 | 城市大脑 / 固定配时（最差种子） | 同上，用地感线圈 "
    "| 城市大脑 − 固定配时 "
    "| 每次运行结束时未到达：固定配时 / 最大压力 / 城市大脑 |",
}
_DRIVEN = ("plan", "max pressure", "city")
_WAYS = {
    "ordinary": {"en": "obeying lights", "zh": "遵守信号灯"},
    "bluelight": {"en": "siren alone", "zh": "仅鸣笛闪灯"},
    "city": {"en": "with the city", "zh": "有城市大脑"},
}


def made(language: str) -> str:
    """The README as it should stand."""
    text = READMES[language].read_text(encoding="utf-8")
    text = between(text, "saga", "```py\n" + _newest() + "```")
    text = between(text, "results", _results(language))
    text = between(text, "rush", rush(language))
    return between(text, "ways", ways(language))


def _newest() -> str:
    """The newest version of the workflow, from its scope on: what it does stands there, and how stands above it in the file."""
    text = SAGA.read_text(encoding="utf-8")
    return text[text.index("_RESPONSE = During(") :]


def between(text: str, name: str, content: str) -> str:
    """The text, with everything between the two marks of a name replaced."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def _results(language: str) -> str:
    if not RIDES.is_file():
        return ""
    rows = [_HEAD[language], "|---|---|---|---|---|---|"]
    for city, found in json.loads(RIDES.read_text(encoding="utf-8")).items():
        calls = f"{found['calls']} × {len(found['seeds'])}"
        ride = found["ride against ordinary"]
        rows.append(
            f"| {city} | {calls} | {ride['base_median']:.0f} s → {ride['city_median']:.0f} s | {_told(ride)} "
            f"| {_told(found['ride against bluelight'])} | {_told(found['others against bluelight'], 1)} |"
        )
    return "\n".join(rows)


def ways(language: str) -> str:
    """The table of the ways to drive, with the slowest rides."""
    if not RIDES.is_file():
        return ""
    rows = [_WAYS_HEAD[language], "|---|---|---|---|---|---|---|---|"]
    for city, details in json.loads(RIDES.read_text(encoding="utf-8")).items():
        for way, names in _WAYS.items():
            found = details.get("variants", {}).get(way, {"rides": 0})
            if found["rides"]:
                rows.append(f"| {city}, {names[language]} | " + " | ".join(_cells(found)) + " |")
    return "\n".join(rows)


def rush(language: str) -> str:
    """The table of a rush hour with the plan and with the city. A network that values were tuned on is marked."""
    if not RUSH.is_file():
        return ""
    rows = [_RUSH_HEAD[language], "|---|---|---|---|---|---|---|---|---|"]
    for network, found in json.loads(RUSH.read_text(encoding="utf-8"))["networks"].items():
        driven, seeds = [found["ways"][way] for way in _DRIVEN], len(found["seeds"])
        scale = "" if found["scale"] == 1 else f" × {found['scale']:g}"
        cells = [
            f"{network}{scale}{' *' if found['tuned on'] else ''}",
            f"{found['vehicles']:,}",
            *(f"{way['mean_s']:.0f} s" for way in driven),
            *(f"**{found[f'{name} / plan']:.2f}** ({found[f'worst seed, {name}']:.2f})" for name in ("city", "city by loops")),
            _told(found["city − plan, s"], 1),
            " / ".join(f"{(way['unfinished'] + way['undeparted']) / seeds:.0f}" for way in driven),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cells(found: dict[str, Any]) -> list[str]:
    late, of_all, median = found["late_share"], found["mean_over_bound"], found["median_over_bound"]
    return [
        *(f"{found[name]:.0f}" for name in ("mean_s", "p90_s", "worst_s")),
        "" if late is None else f"{late:.0%}",
        f"{found['never_ended']}",
        f"{found['reds_run']} / {found['signals_passed']}",
        "" if of_all is None else f"{of_all:.2f}, {median:.2f}",
    ]


def _told(found: dict[str, Any], digits: int = 0) -> str:
    low, high = found["low"], found["high"]
    return f"{found['median']:+.{digits}f} s [{low:+.{digits}f}, {high:+.{digits}f}]"


def main() -> int:
    """Writes both."""
    for language, path in READMES.items():
        path.write_text(made(language), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
