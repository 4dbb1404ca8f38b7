"""`city events list` and `describe`: the catalogue of events in a terminal."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from citybrain.cli import catalogue
from citybrain.local.problems import Problem
from tests.helpers import city_command


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return city_command.run(Path.cwd(), "events", *words)


def test_an_event_is_described_by_its_name_alone() -> None:
    shown = run("describe", "IncidentOpened")
    assert shown.returncode == 0, shown.stderr
    for words in ("citybrain.emergency_command.v1.IncidentOpened", "Somebody needs help.", "team emergency-command", "sagas",
                  "About the person in"):  # fmt: skip
        assert words in " ".join(shown.stdout.split()), words
    told = json.loads(run("describe", "citybrain.emergency_command.v1.IncidentOpened", "--json").stdout)
    assert (told["publisher"], told["classification"], told["hearers"]) == ("emergency_command", "INTERNAL", ["sagas"])
    reporter = next(field for field in told["fields"] if field["name"] == "reporter")
    assert reporter["person"] == "reporter_id" and told["example"]["reporter"]["phone"].startswith("+")


def test_events_are_listed_all_or_those_of_one_service() -> None:
    told = json.loads(run("list", "--of", "sagas", "--json").stdout)
    assert {"citybrain.sagas.v1.SagaStarted", "citybrain.emergency_command.v1.IncidentOpened"} <= {one["type"] for one in told}
    assert "citybrain.district_hub.v1.DistrictNotified" not in {one["type"] for one in told}
    assert "DistrictNotified" in run("list").stdout


def test_what_there_is_not_is_told_with_what_may_be_meant() -> None:
    known = catalogue.events()
    with pytest.raises(Problem, match=r"do you mean citybrain\.emergency_command\.v1\.IncidentOpened"):
        catalogue.one("IncidentOpend", known)
    with pytest.raises(Problem, match="`city events list` shows all"):
        catalogue.one("Xyzzy", known)
    with pytest.raises(Problem, match="no service parks publishes or hears"):
        catalogue.of_service("parks", known)
    twice = [known[0], known[0]]
    with pytest.raises(Problem, match="give the full name"):
        catalogue.one(known[0].type.rpartition(".")[2], twice)
    failed = run("describe", "Xyzzy")
    assert failed.returncode == 2 and len(failed.stderr.splitlines()) == 1
