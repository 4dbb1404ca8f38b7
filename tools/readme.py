"""Puts into both READMEs what is made: the workflow as it stands in its file, and the results of the last benchmark.

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
SAGA = ROOT / "sagas" / "emergency_response.py"
RIDES = ROOT / "benchmarks" / "rides.json"
LATEST = ROOT / "benchmarks" / "latest.json"

_HEAD = {
    "en": "| | calls | ride, median | against obeying lights | against blue light alone | others, against blue light alone |",
    "zh": "| | 呼叫 | 行程中位数 | 与遵守信号灯相比 | 与仅鸣笛闪灯相比 | 其他车辆，与仅鸣笛闪灯相比 |",
}


def made(language: str) -> str:
    """The README as it should stand."""
    text = READMES[language].read_text(encoding="utf-8")
    text = between(text, "saga", "```py\n" + SAGA.read_text(encoding="utf-8") + "```")
    return between(text, "results", _results(language))


def between(text: str, name: str, content: str) -> str:
    """The text with what stands between its two marks of a name replaced."""
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
