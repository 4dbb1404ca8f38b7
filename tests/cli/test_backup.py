"""`city backup` while a city works, `city restore` where it is gone: nothing ahead of the log, and nobody comes back."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.local.child import MeshChild
from tests.helpers.callers import calling
from tests.helpers.city_command import refused, run
from tests.helpers.waiting import until


class City:
    """A process of the mesh, and who reports to it."""

    def __init__(self, child: MeshChild, channel: grpc.Channel) -> None:
        self.child = child
        self.command = EmergencyCommandServiceStub(channel)

    def report(self, phone: str = "") -> Any:
        asked = pb.ReportEmergencyRequest(
            channel=pb.CHANNEL_PHONE, severity=pb.SEVERITY_SERIOUS, place=RoadPlace(edge_id="e1"), another_patient=True
        )
        if phone:
            asked.reporter.CopyFrom(pb.Contact(name="王建国", phone=phone))
        return self.command.ReportEmergency(asked, timeout=60).incident

    def get(self, incident_id: str) -> Any:
        return self.command.GetIncident(pb.GetIncidentRequest(incident_id=incident_id), timeout=60).incident

    def listed(self) -> set[str]:
        incidents: set[str] = set()
        token = ""
        while True:
            page = self.command.ListIncidents(pb.ListIncidentsRequest(page_size=500, page_token=token), timeout=60)
            incidents |= {one.incident_id for one in page.incidents}
            token = page.next_page_token
            if not token:
                return incidents


@contextmanager
def city(data: Path) -> Iterator[City]:
    with MeshChild(data, ["emergency_command"]) as child, calling(child) as channel:
        yield City(child, channel)


def done(folder: Path, *arguments: str) -> Any:
    finished = run(folder, *arguments, "--json")
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def in_log(data: Path) -> set[str]:
    with sqlite3.connect(data / "events.db") as database:
        # Beside them are records of the audit trail.
        sql = "SELECT stream FROM events WHERE version = 1 AND stream LIKE '%/incident-%'"
        return {row[0].rpartition("incident-")[2] for row in database.execute(sql)}


def test_a_backup_that_is_made_while_the_city_works_is_put_back_whole(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    acknowledged: list[str] = []
    with city(data) as running:
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.01):
                acknowledged.append(running.report().incident_id)

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        until(lambda: len(acknowledged) > 50, "nothing is acknowledged")
        before = list(acknowledged)
        made = done(tmp_path, "backup", str(copy), "--data", str(data))
        stop.set()
        for worker in workers:
            worker.join()
    assert set(made["files"]) >= {"events.db", "emergency_command.views.db", "token.key"}
    shutil.rmtree(data)
    restored = done(tmp_path, "restore", str(copy), "--data", str(data))
    assert (restored["events"], restored["head"]) == (made["events"], made["head"]) and made["events"] >= len(before)
    known = in_log(data)
    assert set(before) <= known <= set(acknowledged)
    with city(data) as running:
        until(lambda: running.listed() == known, "the read model is no fold of the log")
        new = running.report().incident_id
        until(lambda: running.listed() == known | {new}, "the read model does not go on")


def test_who_was_erased_after_the_backup_is_erased_before_the_copy_serves(tmp_path: Path) -> None:
    data, copy, keys, ledger = (tmp_path / name for name in ("data", "copy", "apart/keys", "erased.jsonl"))
    with city(data) as running:
        gone, stays = running.report("+8613800001111"), running.report("+8613800001112")
        done(tmp_path, "backup", str(copy), "--keys", str(keys), "--data", str(data))
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
        receipt = done(tmp_path, "erase", gone.reporter_id, "--data", str(data))
        assert len(receipt["copies_of_keys"]) == 1
    shutil.copy(data / "keys" / "erased.jsonl", ledger)
    master = tmp_path / "master.key"
    shutil.copy(data / "keys" / "master.key", master)
    shutil.rmtree(data)
    (tmp_path / "city.yaml").write_text(f"data: {data}\npersonal: {{master_key: {master}}}\n", encoding="utf-8")
    assert "--keys" in refused(tmp_path, "restore", str(copy)), "the keys are missing"
    restored = done(tmp_path, "restore", str(copy), "--keys", str(keys), "--erased", str(ledger))
    assert (restored["erased"], restored["erased_again"], restored["without_keys"]) == (1, 1, 0)
    with sqlite3.connect(data / "events.db") as database:
        (told,) = database.execute("SELECT count(*) FROM events WHERE stream = ?", (f"personal/{gone.reporter_id}",)).fetchone()
    assert told == 1, "who follows the copy is told too"
    shutil.copy(master, data / "keys" / "master.key")
    with city(data) as running:
        assert not running.get(gone.incident_id).HasField("reporter")
        assert running.get(stays.incident_id).reporter.phone == "+8613800001112"


def test_a_copy_that_was_changed_or_broken_off_is_refused_and_nothing_can_be_started_from_half_of_one(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    with city(data) as running:
        running.report()
    made = done(tmp_path, "backup", str(copy), "--data", str(data))
    target = tmp_path / "new"
    events = copy / "events.db"
    whole = events.read_bytes()
    events.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "events.db in" in refused(tmp_path, "restore", str(copy), "--data", str(target))
    assert not target.exists()
    events.write_bytes(whole)
    listing = (copy / "backup.json").read_text(encoding="utf-8")
    (copy / "backup.json").unlink()
    assert "is no backup, or one that was broken off" in refused(tmp_path, "restore", str(copy), "--data", str(target))
    (copy / "backup.json").write_text(listing, encoding="utf-8")
    (target / ".restoring").mkdir(parents=True)
    (target / "events.db").write_bytes(b"half")
    failed = run(tmp_path, "serve", "emergency_command", "--data", str(target))
    assert failed.returncode == 2 and "was not put back whole" in failed.stderr
    assert done(tmp_path, "restore", str(copy), "--data", str(target))["events"] == made["events"] >= 1
    with city(target) as running:
        until(lambda: len(running.listed()) == 1, "the city that was put back does not serve")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    data, copy, mine = tmp_path / "data", tmp_path / "copy", tmp_path / "mine"
    with city(data) as running:
        running.report()
    mine.mkdir()
    (mine / "letter").touch()
    assert "a backup overwrites nothing" in refused(tmp_path, "backup", str(mine), "--data", str(data))
    assert "and would be lost with it" in refused(tmp_path, "backup", str(data / "copy"), "--data", str(data))
    done(tmp_path, "backup", str(copy), "--data", str(data))
    assert "a restore overwrites nothing" in refused(tmp_path, "restore", str(copy), "--data", str(data))
    assert len(in_log(data)) == 1
