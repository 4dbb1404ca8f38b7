"""Files that people give: whatever is wrong in one is a single line that names file, line and field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.given import CITIES, read_calls, read_city, read_places
from citybrain.simulation.network import Edge, Network
from citybrain.simulation.scenario import open_scenario


def network(edges: int = 12) -> Network:
    """A ring of edges of 100 m; every second one ends at a signal."""
    shape = ((0.0, 0.0), (100.0, 0.0))
    ring = {
        f"E{n}": Edge(f"E{n}", 100.0, 10.0, (f"E{(n + 1) % edges}",), (float(n % 4), float(n // 4)), shape, (), "J")
        for n in range(edges)
    }
    return Network(Path("ring.net.xml"), ring, (), {}, {})


PLACES = """\
hospitals:
  - {id: general, name: General Hospital, edge_id: E1, position_m: 40, places: 20}
stations:
  - id: main
    edge_id: E3
    position_m: 10
    ambulances: 2
"""


def test_places_are_read_and_districts_derived_where_they_are_missing(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PLACES)
    places = read_places(tmp_path / "p.yaml", network())
    assert places.hospitals[0].entrance.edge_id == "E1"
    assert places.stations[0].ambulance_ids == ("main-1", "main-2")
    assert sum(len(d.edge_ids) for d in places.districts) == 12


def test_given_districts_are_taken(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PLACES + "districts: [{id: north, name: 北, edge_ids: [E1, E2]}]\n")
    assert read_places(tmp_path / "p.yaml", network()).district_of() == {"E1": "north", "E2": "north"}


@pytest.mark.parametrize(
    ("change", "line", "field"),
    [
        (("E1", "E99"), 2, "edge_id"),
        (("position_m: 40", "position_m: 400"), 2, "position_m"),
        (("position_m: 10", "position_m: ten"), 6, "position_m"),
        (("ambulances: 2", "ambulances: 0"), 7, "ambulances"),
        (("ambulances: 2", "ambulance: 2"), 7, "ambulance"),
        (("    ambulances: 2\n", ""), 4, "ambulances"),
        (("id: main", "id: a b"), 4, "id"),
        (("stations:", "garages:"), 3, "garages"),
        ((PLACES[PLACES.index("stations") :], ""), 1, "stations"),
        ((PLACES[PLACES.index("stations") :], "stations: []"), 3, "stations"),
        (("places: 20", "places: true"), 2, "places"),
    ],
)
def test_a_wrong_or_partial_places_file_is_one_error(tmp_path: Path, change: tuple[str, str], line: int, field: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(PLACES.replace(*change))
    with pytest.raises(ScenarioError, match=re.escape(f"{file}: line {line}: field {field} ")) as error:
        read_places(file, network())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "line"), [("a: [", 2), ("", 1), ("- 1", 1), ("hospitals: [1]\nstations: []", 1)])
def test_what_is_no_places_file_at_all_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "p.yaml").write_text(text + "\n")
    with pytest.raises(ScenarioError, match=f"line {line}: "):
        read_places(tmp_path / "p.yaml", network())


CALL: dict[str, Any] = {"at_s": 300, "edge_id": "E7", "position_m": 25.0, "severity": "CRITICAL"}


def test_calls_are_read_in_the_order_of_their_times(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text("\n".join(json.dumps(CALL | {"at_s": at}) for at in (500, 300)) + "\n\n")
    assert [(call.number, call.at_s) for call in read_calls(file, network(), 3600)] == [(1, 300), (2, 500)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"edge_id": "nowhere"}, "edge_id"),
        ({"at_s": 3600}, "at_s"),
        ({"at_s": "soon"}, "at_s"),
        ({"position_m": -1}, "position_m"),
        ({"severity": "bad"}, "severity"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_call_is_one_error_that_names_its_line(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text(json.dumps(CALL) + "\n" + json.dumps(CALL | change))
    with pytest.raises(ScenarioError, match=f"line 2: field {field} "):
        read_calls(file, network(), 3600)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"at_s": 3}'])
def test_what_is_no_call_at_all_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(ScenarioError, match="line 1: "):
        read_calls(tmp_path / "c.jsonl", network(), 3600)


@pytest.mark.parametrize("name", [folder.name for folder in sorted(CITIES.iterdir())])
def test_every_shipped_city_names_its_source_and_licence_in_two_languages(name: str) -> None:
    city = read_city(name)
    assert city.name == name
    assert city.title_en
    assert city.title_zh
    assert city.source
    assert city.licence
    assert city.scenario.suffix == ".sumocfg"


def test_a_city_that_does_not_ship_is_an_error_that_lists_those_that_do() -> None:
    with pytest.raises(ScenarioError, match="cologne8, ingolstadt21"):
        read_city("atlantis")


CONFIG = """<configuration><input><net-file value="n.net.xml"/><route-files value="r.rou.xml"/></input>
<time><begin value="10"/><end value="0:01:40"/></time></configuration>"""


def write_scenario(folder: Path, config: str = CONFIG, net: str = '<net><tlLogic id="a"/></net>') -> Path:
    (folder / "n.net.xml").write_text(net)
    (folder / "r.rou.xml").write_text("<routes/>")
    (folder / "s.sumocfg").write_text(config)
    return folder / "s.sumocfg"


def test_a_scenario_is_opened_with_its_times(tmp_path: Path) -> None:
    scenario = open_scenario(write_scenario(tmp_path))
    assert (scenario.name, scenario.begin, scenario.end) == ("s", 10, 100)


def test_a_scenario_may_leave_its_times_open(tmp_path: Path) -> None:
    scenario = open_scenario(write_scenario(tmp_path, CONFIG.replace('<begin value="10"/><end value="0:01:40"/>', "")))
    assert (scenario.begin, scenario.end) == (0, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (('"n.net.xml"', '"m.net.xml"'), "net-file"),
        (('"n.net.xml"', '""'), "net-file"),
        (("r.rou.xml", "q.rou.xml"), "route-files"),
        (('<route-files value="r.rou.xml"/>', ""), "route-files"),
        (('"10"', '"ten"'), "begin"),
        (('"0:01:40"', '"5"'), "end"),
        (("</time>", ""), "line 2"),
    ],
)
def test_a_scenario_that_cannot_be_used_says_which_field(tmp_path: Path, change: tuple[str, str], field: str) -> None:
    file = write_scenario(tmp_path, CONFIG.replace(*change))
    with pytest.raises(ScenarioError, match=re.escape(str(file)) + f".*{field}"):
        open_scenario(file)


def test_a_scenario_without_signals_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no traffic signals"):
        open_scenario(write_scenario(tmp_path, net="<net/>"))


def test_a_scenario_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no such file"):
        open_scenario(tmp_path / "no.sumocfg")
