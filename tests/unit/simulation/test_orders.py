"""The rides of a city run as another run reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.rides import Orders


def line(kind: str, second: int, **values: object) -> str:
    return json.dumps({"kind": kind, "second": second, "incident_id": "i", "ambulance_id": "a", **values})


def test_orders_come_in_the_second_they_are_for() -> None:
    orders = Orders([line("ride", 5), line("ride_hospital", 7), line("call", 3)], "file")
    assert [o["kind"] for o in orders.due(4)] == []
    assert [o["kind"] for o in orders.due(5)] == ["ride"]
    assert [o["kind"] for o in orders.due(9)] == ["ride_hospital"]


def test_a_run_that_is_under_way_is_read_no_further_than_needed() -> None:
    read = []

    def live() -> Iterator[str]:
        for number, text in enumerate([line("progress", 4), line("ride", 6), line("progress", 5), line("progress", 6)]):
            read.append(number)
            yield text

    orders = Orders(live(), "stdin")
    assert orders.due(5) == []
    assert read == [0]
    assert [o["kind"] for o in orders.due(6)] == ["ride"]
    assert read == [0, 1, 2]


def test_a_run_that_broke_off_ends_its_orders() -> None:
    orders = Orders([line("progress", 4)], "stdin")
    assert orders.due(1000) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "ride"}', '{"kind": "progress", "second": "x"}'])
def test_a_line_that_is_none_names_its_number(text: str) -> None:
    with pytest.raises(ScenarioError, match="rides: line 2: "):
        Orders([line("progress", 1), text], "rides").due(5)
