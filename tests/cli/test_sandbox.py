"""`city sandbox`: what it says, and the city it plays. That it works is shown by the tutorials, which are done in one."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from citybrain.cli import sandbox
from citybrain.cli.main import app
from citybrain.simulation.synthetic import DISTRICTS, HOSPITALS, roads


def test_a_district_that_is_not_in_the_sandbox_is_named_with_those_that_are() -> None:
    done = CliRunner().invoke(app, ["sandbox", "--district", "nowhere"])
    assert done.exit_code != 0
    assert "there is no district nowhere in the sandbox: take one of xihu, gongshu" in str(done.exception)


def test_it_says_where_it_answers_to_people_and_to_programs() -> None:
    (line,) = sandbox.told("127.0.0.1:1", "xihu", "西湖区", Path("/d/xihu.token"), as_json=True)
    answer = json.loads(line)
    assert (answer["address"], answer["district"], answer["token"]) == ("127.0.0.1:1", "xihu", "/d/xihu.token")
    first, *_ = sandbox.told("127.0.0.1:1", "xihu", "西湖区", Path("/d/xihu.token"), as_json=False)
    assert first == "The sandbox answers at 127.0.0.1:1. The token of 西湖区 (xihu) is in /d/xihu.token."


def test_every_road_of_the_synthetic_city_leads_on_and_each_district_keeps_as_many() -> None:
    known = {road.edge_id: road for road in roads()}
    assert all(following in known for road in known.values() for following in road.next_edge_ids)
    assert all(road.next_edge_ids for road in known.values())
    kept = [sum(road.district_id == district for road in known.values()) for district in DISTRICTS]
    assert sum(kept) == len(known) and max(kept) - min(kept) <= len(known) // 10
    for node in HOSPITALS.values():
        assert any(edge.startswith(f"{node}-") for edge in known)
