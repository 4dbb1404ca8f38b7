"""What is checked of a burst follows from the network, by code that no service uses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from citybrain.urban.v1 import water_pb2 as pb

from citybrain.simulation.pipes import STEP_S, net3
from citybrain.stories.burst import pipes_map, plan, report
from citybrain.stories.burst.check import Run, checks
from citybrain.stories.burst.pipes_map import PipesMap
from citybrain.stories.sheet import Text

# A source, a line to a, b and c, and a loop from a to c: s - a - b - c, a - c.
SMALL = PipesMap(
    coordinates={"s": (0, 0), "a": (1, 0), "b": (2, 0), "c": (3, 0)},
    demands={"a": 1.0, "b": 2.0, "c": 0.0},
    links={"sa": ("s", "a"), "ab": ("a", "b"), "bc": ("b", "c"), "ac": ("a", "c")},
    pipes={"sa", "ab", "bc", "ac"},
    supplies={"s"},
)


def test_who_has_no_water_follows_from_the_valves_that_are_shut() -> None:
    assert SMALL.without_water([]) == set()
    assert SMALL.without_water([("ab", "a"), ("ab", "b")]) == set(), "b has water from c"
    assert SMALL.without_water([("ab", "a"), ("bc", "c")]) == {"b"}
    assert SMALL.without_water([("sa", "a")]) == {"a", "b"}, "c has no customers"


def test_a_pipe_is_cut_off_when_neither_end_lets_water_in() -> None:
    assert SMALL.reaches("ab", [])
    assert SMALL.reaches("ab", [("ab", "a")]), "from b"
    assert not SMALL.reaches("ab", [("ab", "a"), ("ab", "b")])
    assert not SMALL.reaches("ab", [("ab", "a"), ("bc", "c")])


def test_net3_is_read_as_it_is_published() -> None:
    found = pipes_map.read(net3())
    # Rossman, EPANET 2.2 User Manual: 92 junctions, 2 reservoirs, 3 tanks, 117 pipes, 2 pumps.
    assert (len(found.demands), len(found.supplies), len(found.pipes), len(found.links)) == (92, 5, 117, 119)
    assert found.without_water([]) == set()


def test_each_seed_bursts_a_pipe_that_is_not_beside_a_tank_after_some_quiet_hours() -> None:
    for seed in range(1, 21):
        made = plan.made(seed)
        assert made.leak is not None
        assert not made.pipes.supplies & set(made.pipes.links[made.leak.pipe])
        assert made.leak.begin_s >= (plan.BEGIN_H + plan.QUIET_H) * 3600
        assert made.leak.begin_s + 3 * STEP_S <= made.hours * 3600
        assert made == plan.made(seed)
    assert plan.made(1, quiet_hours=168).hours == plan.BEGIN_H + 168


def run() -> Run:
    """Pipe ab of the small network has burst; all that is right was said of it."""
    made = replace(plan.made(1), pipes=SMALL, sensors=["a", "b"])
    assert made.leak is not None
    leak = replace(made.leak, pipe="ab")
    isolation = pb.Isolation(
        pipe_ids=["ab", "bc"], valves=[_valve("ab", "a"), _valve("bc", "c")], customer_node_ids=["b"], district_ids=["gongshu"]
    )
    found = pb.Leak(candidates=[pb.LeakCandidate(pipe_id="ac"), pb.LeakCandidate(pipe_id="ab")], isolation=isolation)
    return Run(replace(made, leak=leak), [found], [leak.begin_s + STEP_S], {"gongshu"}, ["wo-1"])


def _valve(pipe: str, node: str) -> pb.PipeValve:
    return pb.PipeValve(pipe_id=pipe, node_id=node)


def held(one: Run) -> list[bool]:
    return [check.holds for check in checks(one)]


def test_a_burst_that_is_noticed_shut_off_and_told_holds_in_every_point() -> None:
    assert held(run()) == [True] * 6
    assert (run().steps_to_find, run().place) == (2, 2)


def _late(one: Run) -> None:
    one.noticed_s = [one.noticed_s[0] + STEP_S]


def _early(one: Run) -> None:
    one.noticed_s = [one.noticed_s[0] - 9 * STEP_S]


def _elsewhere(one: Run) -> None:
    del one.leaks[0].candidates[1]


def _open(one: Run) -> None:
    del one.leaks[0].isolation.valves[1]


def _more_dry(one: Run) -> None:
    one.leaks[0].isolation.customer_node_ids.append("a")


def _untold(one: Run) -> None:
    one.told = set()


def _no_work(one: Run) -> None:
    one.orders = []


@pytest.mark.parametrize(("spoil", "wrong"), [
    (_late, 0), (_early, 0), (_elsewhere, 1), (_open, 2), (_more_dry, 3), (_untold, 4), (_no_work, 5),
])  # fmt: skip
def test_what_is_not_right_is_said_in_its_point(spoil: object, wrong: int) -> None:
    one = run()
    spoil(one)  # type: ignore[operator]
    assert held(one)[wrong] is False


def test_a_leak_that_is_only_suspected_is_not_told_as_unnoticed() -> None:
    one = run()
    one.leaks.clear()
    assert report.sentence(one).english == "A pipe burst. It was suspected, and not confirmed."


def test_in_quiet_hours_whatever_is_raised_is_wrong() -> None:
    quiet = Run(plan.made(1, quiet_hours=168))
    assert held(quiet) == [True]
    assert report.sentence(quiet).english == "168 quiet hours, and the city raised nothing."
    quiet.noticed_s.append(90_000)
    assert held(quiet) == [False]


def test_the_page_shows_the_network_and_what_was_found(tmp_path: Path) -> None:
    one = run()
    one.happened = [(one.noticed_s[0], Text("Leak found; most likely pipes: ac, ab", "发现漏损；最可能的管段：ac, ab"))]
    one.pressures = {"a": [(3600.0, 40.0), (7200.0, 38.0)], "b": [(3600.0, 41.0), (7200.0, 41.0)]}
    one.expected = {node: {second: 40.0 for second, _ in points} for node, points in one.pressures.items()}
    report.write(one, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "most likely pipes: ac, ab" in text
    assert "最可能的管段：ac, ab" in text
    assert text.count("✓") == 6
