"""`city events list` and `describe`: the catalogue of events in a terminal."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from citybrain.catalogue.v1 import catalogue_service_pb2 as pb
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.mesh.v1.mesh_service_pb2 import ParkedEvent
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.cli import catalogue, configuration, in_the_log
from citybrain.cli.in_the_log import InTheLog
from citybrain.local.child import MeshChild
from citybrain.local.problems import Problem
from tests.helpers import city_command
from tests.helpers.callers import calling
from tests.helpers.waiting import until

REGISTERED = "citybrain.district_hub.v1.DistrictRegistered"


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


def test_where_no_city_answers_an_event_is_described_and_why_nothing_is_known_of_the_log(tmp_path: Path) -> None:
    nowhere = ("--gateway", "127.0.0.1:1", "--data", str(tmp_path))
    shown = run("describe", "IncidentOpened", *nowhere)
    assert shown.returncode == 0 and "in the log    not known: there is no token" in shown.stdout
    told = json.loads(run("describe", "IncidentOpened", "--json", *nowhere).stdout)
    assert told["in_the_log"] is None and "name the --data" in told["not_known"].lower()


def test_what_stands_in_the_log_of_a_running_city_is_told(tmp_path: Path) -> None:
    with MeshChild(tmp_path, ["catalogue", "district_hub"]) as child:
        here = ("--gateway", child.address, "--data", str(tmp_path))
        assert "in the log    none so far" in run("describe", "DistrictRegistered", *here).stdout
        with calling(child) as channel:
            request = hub.RegisterDistrictRequest(district_id="xihu", name="西湖区")
            DistrictHubServiceStub(channel).RegisterDistrict(request, wait_for_ready=True, timeout=60)

        def counted() -> Any:
            return json.loads(run("describe", "DistrictRegistered", "--json", *here).stdout)["in_the_log"]

        told = until(counted, "that it is counted")
        assert (told["type"], told["count"], told["days"][0]["count"]) == (REGISTERED, "1", "1")
        assert told["lateness"]["half"].endswith("s")
    settings = configuration.load(None, remote=("--gateway", child.address), data=("--data", tmp_path))
    assert "no city answers at" in in_the_log.in_the_log(REGISTERED, settings).unknown


def counts(**quality: int) -> pb.EventType:
    return pb.EventType(
        type=REGISTERED,
        count=7,
        first_recorded_at=Timestamp(seconds=1_777_608_000),
        last_recorded_at=Timestamp(seconds=1_777_611_600),
        days=[pb.DayCount(date="2026-05-01", count=7)],
        lateness=pb.Lateness(half=Duration(nanos=2_000_000), nearly_all=Duration(seconds=150)),
        quality=pb.Quality(**quality),
    )


def test_what_is_odd_is_told_and_where_events_are_parked() -> None:
    assert list(in_the_log.lines(InTheLog(counts()))) == [
        "7 since 2026-05-01 04:00:00 UTC, the last one 2026-05-01 05:00:00 UTC",
        "2026-05-01: 7",
        "half were recorded within 2 ms after they had happened, 99 of 100 within 2 min",
        "nothing about them is odd",
    ]
    odd = list(in_the_log.lines(InTheLog(counts(late=1, ahead=2, out_of_order=3, unreadable=4), parked={"g.x": 5})))[3:]
    assert [line.split()[0] for line in odd] == ["1", "2", "3", "4", "5"]
    assert odd[-1] == "5 parked in g.x: `city events parked g.x` tells why"
    driven = counts()
    driven.ClearField("lateness")
    assert "city time is driven, so nothing is said of lateness" in list(in_the_log.lines(InTheLog(driven)))


def test_parked_events_are_counted_by_group_and_only_those_of_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    parked = [ParkedEvent(group=group, type=kind) for group, kind in (("a", REGISTERED), ("a", REGISTERED), ("b", "other"))]
    monkeypatch.setattr("citybrain.cli.groups.parked", lambda settings, group: (parked, []))
    assert in_the_log._parked(REGISTERED, configuration.load(None)) == {"a": 2}
