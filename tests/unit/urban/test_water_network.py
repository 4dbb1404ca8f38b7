"""The chart of a water network and where it finds leaks, on EPANET's Net3 with leaks that it does not know of."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.stats import chi2

from citybrain.services.urban import water_network as water
from citybrain.simulation.pipes import NOISE_M, Leak, Pipes, net3

INP = net3().read_text(encoding="utf-8")
SENSORS = ["15", "35", "101", "105", "109", "117", "121", "131", "141", "149", "157", "163", "169", "179", "187", "193", "199",
           "203", "207", "213", "219", "229", "237", "247", "255", "265"]  # fmt: skip


@pytest.fixture(scope="module")
def course() -> water.Course:
    return water.course(INP, 900, 168)


@pytest.fixture(scope="module")
def layout() -> water.Layout:
    return water.layout(INP)


def residuals(course: water.Course, second: int, shown: dict[str, float]) -> dict[str, float]:
    step = second // 900
    return {name: metres - course.pressure[step, course.nodes.index(name)] for name, metres in shown.items()}


def test_net3_is_read_as_it_is(layout: water.Layout) -> None:
    assert (len(layout.demand_lps), len(layout.links), sum(link.closable for link in layout.links)) == (92, 119, 117)
    assert layout.sources == {"River", "Lake", "1", "2", "3"}
    assert sum(layout.demand_lps.values()) == pytest.approx(690.7, abs=0.1)


@pytest.mark.parametrize(
    "inp", ["", "this is no network", INP.replace("[TANKS]", "[TANKZ]"), INP.replace("\tLake", "\tNowhere")]
)
def test_what_epanet_cannot_read_is_refused_with_its_words(inp: str) -> None:
    with pytest.raises(water.Unreadable, match=r"\w+"):
        water.layout(inp)


def test_a_moment_is_computed_again_as_it_was_in_the_run(course: water.Course) -> None:
    for step in (3, 77, 400):
        with water.Trials(INP, course, step) as trials:
            assert np.abs(trials.clean - course.pressure[step]).max() < 1e-3


def test_a_hole_loses_what_it_should_and_pressures_fall(course: water.Course) -> None:
    with water.Trials(INP, course, 40) as trials:
        falls, lost = trials.falls("223", 60)
        assert lost == pytest.approx(60 * math.sqrt(trials.clean[course.nodes.index("203")] / 40), rel=0.2)
        assert falls.max() > 0.5
        assert falls.min() > -1e-3


def test_quiet_hours_raise_no_alarm(course: water.Course) -> None:
    for seed in range(3):
        by = random.Random(seed)
        steps: list[dict[str, float]] = []
        for _ in range(168 * 4):
            steps = [*steps[-7:], {name: by.gauss(0, NOISE_M) for name in SENSORS}]
            assert not water.judge(steps, NOISE_M).alarm


def test_the_limit_is_the_quantile_of_chi_squared_and_lets_one_step_in_ten_million_pass() -> None:
    assert water.quantile(26, 1e-7) == pytest.approx(chi2.isf(1e-7, 26))
    on = math.sqrt(water.quantile(26, water.RISK) / 26)
    assert not water.judge([dict.fromkeys(SENSORS, on * 0.9999)], 1).alarm
    assert water.judge([dict.fromkeys(SENSORS, on * 1.0001)], 1).alarm


def test_a_small_leak_is_found_by_the_mean_of_more_steps() -> None:
    steps = [dict.fromkeys(SENSORS, 0.9)] * 8
    assert not water.judge(steps[:1], 1).alarm
    verdict = water.judge(steps, 1)
    assert (verdict.alarm, verdict.span) == (True, 8)


def test_one_sensor_that_lies_is_no_leak_and_is_named() -> None:
    shown = dict.fromkeys(SENSORS, 0.05) | {"121": 40.0}
    verdict = water.judge([shown], NOISE_M)
    assert (verdict.alarm, verdict.alone) == (False, "121")


def test_a_sensor_that_missed_a_step_counts_only_where_it_reported() -> None:
    steps = [{"a": 1.0}, {"a": 1.0, "b": 100.0}]
    assert water.judge(steps, 10).mean in ({"a": 1.0}, {"a": 1.0, "b": 100.0})
    assert set(water.judge([{"a": 20.0, "b": 0.0}, {"a": 20.0}], 1).mean) == {"a"}


@pytest.mark.parametrize(("pipe", "begin"), [("223", 20_000), ("117", 50_000), ("269", 90_000), ("171", 130_000)])
def test_a_burst_is_found_within_two_steps_and_its_pipe_is_among_the_candidates(
    course: water.Course, layout: water.Layout, pipe: str, begin: int
) -> None:
    steps: list[dict[str, float]] = []
    for second, shown in Pipes(SENSORS, 40, 7, Leak(pipe, begin, 90)).steps():
        steps = [*steps[-7:], residuals(course, second, shown)]
        verdict = water.judge(steps, NOISE_M)
        if verdict.alarm:
            break
    assert begin <= second <= begin + 2 * 900
    with water.Trials(INP, course, second // 900) as trials:
        found = water.locate(trials, layout.links, course.nodes, verdict.mean, NOISE_M / math.sqrt(verdict.span))
    assert pipe in [one.pipe for one in found]
    assert 0.5 < sum(one.share for one in found) <= 1
    assert found == sorted(found, key=lambda one: one.misfit)
    at = next(one for one in found if one.pipe == pipe)
    assert at.litres_per_second == pytest.approx(90, rel=0.5)


def test_pressures_that_rise_have_no_candidates(course: water.Course, layout: water.Layout) -> None:
    with water.Trials(INP, course, 40) as trials:
        assert water.locate(trials, layout.links, course.nodes, dict.fromkeys(SENSORS, 1.0), NOISE_M) == []
