"""`city dashboards`: a file for each service, or JSON; what cannot be made or written is told."""

from __future__ import annotations

import json
from pathlib import Path

from citybrain.local.city import ROOT
from tests.helpers.city_command import refused, run

RULES = ROOT / "observability" / "prometheus" / "rules"


def test_each_service_gets_a_file_as_the_repository_has_it(tmp_path: Path) -> None:
    said = run(tmp_path, "dashboards", "--out", "made", "--rules", "rules").stdout
    kept = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "observability" / "grafana").glob("*.json")}
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "made").iterdir()} == kept
    rules = {
        path.name: path.read_text(encoding="utf-8").partition("\n")[2] for path in RULES.glob("*.yaml") if path.stem != "city"
    }
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "rules").iterdir()} == rules
    assert sorted(said.split()) == sorted([*(f"made/{name}" for name in kept), *(f"rules/{name}" for name in rules)])


def test_json_has_those_that_were_asked_for_and_no_file_is_written(tmp_path: Path) -> None:
    made = json.loads(run(tmp_path, "dashboards", "health", "traffic", "--json").stdout)
    assert {name: one["title"] for name, one in made.items()} == {"health": "Health (卫生健康)", "traffic": "Traffic (交通)"}
    assert list(tmp_path.iterdir()) == []


def test_only_a_service_that_hears_events_has_panels_of_what_it_hears(tmp_path: Path) -> None:
    made = json.loads(run(tmp_path, "dashboards", "--json").stdout)
    titles = {name: {panel["title"] for panel in one["panels"]} for name, one in made.items()}
    assert "Events handled a second" in titles["sagas"]
    assert "Events handled a second" not in titles["identity"] and "Events yet to look at" not in titles["identity"]
    assert "Events written a minute" not in titles["audit"]


def test_what_cannot_be_made_or_written_is_told(tmp_path: Path) -> None:
    assert "there is no service park; there are: " in refused(tmp_path, "dashboards", "park")
    (tmp_path / "taken").write_text("", encoding="utf-8")
    assert "taken cannot be written" in refused(tmp_path, "dashboards", "--out", "taken")
