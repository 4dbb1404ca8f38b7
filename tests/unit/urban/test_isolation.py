"""Which valves isolate a pipe, and who has no water then."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.services.urban import isolation
from citybrain.services.urban.isolation import NotIsolable, everywhere, plan
from citybrain.services.urban.water_network import Layout, Pipe

# source - a - b - c, and a ring b - d - c; e hangs on d.
LINKS = tuple(
    Pipe(name, *ends) for name, ends in {"sa": "sa", "ab": "ab", "bc": "bc", "bd": "bd", "dc": "dc", "de": "de"}.items()
)
NET = Layout(LINKS, {"a": 1.0, "b": 2.0, "c": 3.0, "d": 0.0, "e": 5.0}, frozenset("s"))


def test_with_a_valve_at_both_ends_a_pipe_goes_alone_and_a_ring_feeds_the_others() -> None:
    made = plan(NET, everywhere(NET), ["bd"])
    assert (made.pipes, made.valves, made.customers) == (("bd",), (("bd", "b"), ("bd", "d")), ())


def test_whoever_hangs_behind_a_pipe_is_cut_off_with_it() -> None:
    assert plan(NET, everywhere(NET), ["de"]).customers == ("e",)
    made = plan(NET, everywhere(NET), ["ab"])
    assert (made.customers, made.demand_lps) == (("b", "c", "e"), 10.0)


def test_where_valves_are_few_more_is_closed_off() -> None:
    few = frozenset({("ab", "b"), ("bc", "b"), ("dc", "c"), ("sa", "s")})
    made = plan(NET, few, ["bd"])
    assert made.pipes == ("bd", "dc", "de")
    assert made.valves == (("ab", "b"), ("bc", "b"), ("dc", "c"))
    assert made.customers == ("b", "c", "e")


def test_a_valve_between_two_pipes_that_are_both_cut_off_stays_as_it_is() -> None:
    made = plan(NET, everywhere(NET), ["bd", "dc", "de"])
    assert made.valves == (("bd", "b"), ("dc", "c"))
    assert made.customers == ("e",)


def test_a_pipe_without_a_valve_before_its_source_cannot_be_isolated() -> None:
    with pytest.raises(NotIsolable, match="s"):
        plan(NET, frozenset({("ab", "b")}), ["ab"])


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(sorted(everywhere(NET)))), st.sampled_from([link.name for link in LINKS]))
def test_no_water_reaches_a_pipe_whose_plan_is_closed(valves: set[tuple[str, str]], pipe: str) -> None:
    try:
        made = plan(NET, frozenset(valves), [pipe])
    except NotIsolable:
        return
    # Water goes from the source through every link, but not through a closed valve.
    wet_nodes, wet_links, changed = {"s"}, set[str](), True
    while changed:
        before = len(wet_nodes) + len(wet_links)
        for link in LINKS:
            for here, there in ((link.start, link.end), (link.end, link.start)):
                if here in wet_nodes and (link.name, here) not in made.valves:
                    wet_links.add(link.name)
                    if (link.name, there) not in made.valves:
                        wet_nodes.add(there)
        changed = len(wet_nodes) + len(wet_links) != before
    assert pipe not in wet_links
    assert set(made.customers) == {name for name, lps in NET.demand_lps.items() if lps and name not in wet_nodes}


def test_each_pipe_has_two_valves_where_none_are_known() -> None:
    pump = Layout((*LINKS, Pipe("pump", "a", "c", closable=False)), NET.demand_lps, NET.sources)
    assert len(isolation.everywhere(pump)) == 2 * len(LINKS)
