"""Counts of people in a city centre, as their package has them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.foot_counts import DATA, UNKNOWN, read

SCENARIOS = Path(__file__).resolve().parents[3] / "build" / "scenarios"
COUNTS = "date,hour,year,A Street,B Street\n2024-01-01,23:00-23:59,2024,7.0,\n2024-01-03,0:00-0:59,2024,,0.0\n"
PLACES = "Address,Latitude,Longitude\nA Street,-36.8,174.7\n"


def written(folder: Path, counts: str = COUNTS) -> Path:
    (folder / DATA).mkdir(parents=True)
    (folder / DATA / "hourly_counts.csv").write_text(counts, encoding="utf-8")
    (folder / DATA / "locations.csv").write_text(PLACES, encoding="utf-8")
    return folder


def test_hours_stand_in_a_row_from_midnight_on_with_gaps(tmp_path: Path) -> None:
    found = read(written(tmp_path))
    assert found.first == date(2024, 1, 1)
    assert found.people["A Street"] == [UNKNOWN] * 23 + [7] + [UNKNOWN] * 48
    assert found.people["B Street"][found.hour(date(2024, 1, 3))] == 0
    assert found.positions == {"A Street": (174.7, -36.8)}


def test_where_they_are_not_it_is_said_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="run `make setup`"):
        read(tmp_path)


@pytest.mark.parametrize("counts", [COUNTS.replace("7.0", "many"), COUNTS.replace("2024-01-03", "3 January"), "date,hour\n"])
def test_what_is_not_as_it_was_is_one_line(tmp_path: Path, counts: str) -> None:
    with pytest.raises(ScenarioError, match="not as it is known to be"):
        read(written(tmp_path, counts))


def test_the_package_has_seven_years_of_21_places() -> None:
    found = read(SCENARIOS)
    assert (len(found.people), {len(hours) for hours in found.people.values()}) == (21, {2557 * 24})
    assert found.people.keys() == found.positions.keys()
    assert found.people["1 Courthouse Lane"][found.hour(date(2019, 1, 1)) + 6] == 4
    assert found.people["188 Quay Street Lower Albert (EW)"][0] == UNKNOWN
