"""The story of a rush hour: what is checked, what the page and the sentence say, and the table of the READMEs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from citybrain.simulation.given import City
from citybrain.stories.rush import report
from citybrain.stories.rush.check import checks
from citybrain.stories.rush.command import difference, measured
from citybrain.stories.rush.run import CITY, PLAN, Morning, Run
from tools import readme


def result(mean_s: float, **more: Any) -> dict[str, Any]:
    found = {
        "others": {"vehicles": 900, "mean_time_s": mean_s, "mean_time_loss_s": mean_s / 2, "unfinished": 40, "undeparted": 2},
        "teleports": {"others": 0, "ambulances": 0}, "collisions": 0, "safety_findings": 0,
        "signals": {"commands": 300, "refused": 0, "playing_at_end": [], "out_of_step_at_end": []}, "calls": [],
    }  # fmt: skip
    return found | more


def run(seed: int = 1, plan_s: float = 120.0, city_s: float = 90.0, **more: Any) -> Run:
    city = City("cologne8", "Cologne", "科隆", Path(), "RESCO.", "MIT", None)
    lost = {
        "roads": {
            "a": {"shape": [[0, 0], [100, 0]], "lost_s": 70.0, "vehicles_s": 100.0},
            "b": {"shape": [[100, 0], [100, 80]], "lost_s": 0.0, "vehicles_s": 0.0},
        },
        "over_time": [[25200, 3, 1], [25210, 5, 2]],
    }
    results = {PLAN: result(plan_s), CITY: result(city_s, **more)}
    return Run(Morning("cologne8", seed, 25), city, results, {PLAN: lost, CITY: lost})


def wrong(one: Run) -> list[str]:
    return [check.what.english for check in checks(one) if not check.holds]


def test_a_morning_that_was_better_and_safe_passes_every_check() -> None:
    assert wrong(run()) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"safety_findings": 1}, "An independent checker looked at every signal in every second"),
        ({"collisions": 1}, "There are no more collisions"),
        (
            {"signals": {"commands": 300, "refused": 0, "playing_at_end": ["x"], "out_of_step_at_end": []}},
            "Given back, every signal is in its plan, in step with its clock",
        ),
        (
            {"signals": {"commands": 0, "refused": 0, "playing_at_end": [], "out_of_step_at_end": []}},
            "Commands were carried out",
        ),
    ],
)
def test_whatever_did_harm_is_named(more: dict[str, Any], said: str) -> None:
    assert wrong(run(**more)) == [said]
    late = result(90.0)["others"] | {"unfinished": 50}
    assert wrong(run(others=late)) == ["Not more are still under way at the end"]
    assert wrong(run(city_s=122.0)) == ["Nobody takes longer than with the plan, on the average"]


def test_the_sentence_says_what_it_means_for_a_person_in_both_languages_also_when_it_is_no_gain() -> None:
    english, chinese = report.sentence(run())
    assert (
        "a trip takes 90 seconds instead of 120: 30 seconds less for each person in 900 vehicles, together 8 hours" in english
    )
    assert "120 秒降至 90 秒" in chinese
    assert "no gain" in report.sentence(run(city_s=121.0)).english


def test_the_page_shows_both_mornings_side_by_side(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report.write(run(), page)
    text = page.read_text(encoding="utf-8")
    beside = text[text.index('<div class="beside">') :]
    assert beside.index("with the fixed plan") < beside.index("with the city")
    assert text.count("<svg") == 3
    # 70 % of the time on the first road is lost; nobody drove on the second.
    assert 'stroke="var(--bad)"' in beside
    assert 'stroke="var(--line)"' in beside


def test_many_seeds_are_told_with_their_paired_difference() -> None:
    runs = [run(seed=1), run(seed=2, city_s=100.0), run(seed=3, city_s=95.0)]
    assert difference(runs).startswith("city − plan over 3 seeds: median -25.0 s a trip [")
    told = json.loads(json.dumps(measured(runs[0]), ensure_ascii=False))
    assert told["results"]["city"]["others"]["mean_time_s"] == 90.0
    assert all(told["checks"].values())


def test_the_readmes_show_each_network_beside_plan_and_max_pressure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way = {"mean_s": 114.2, "unfinished": 430, "undeparted": 0}
    details = {
        "cologne8": {
            "seeds": list(range(10)),
            "scale": 1.0,
            "tuned on": True,
            "vehicles": 2046,
            "ways": {"plan": way, "max pressure": way, "city": way | {"mean_s": 88.0}},
            "city / plan": 0.771,
            "worst seed, city": 0.79,
            "city by loops / plan": 0.802,
            "worst seed, city by loops": 0.82,
            "city − plan, s": {"median": -26.2, "low": -27.0, "high": -25.0, "pairs": 10},
        }
    }
    file = tmp_path / "rush.json"
    file.write_text(json.dumps({"networks": details}), encoding="utf-8")
    monkeypatch.setattr(readme, "RUSH", file)
    row = readme.rush("en").splitlines()[-1]
    assert row == (
        "| cologne8 * | 2,046 | 114 s | 114 s | 88 s | **0.77** (0.79) | **0.80** (0.82) | -26.2 s [-27.0, -25.0] "
        "| 43 / 43 / 43 |"
    )
