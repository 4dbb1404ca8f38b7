"""`city doctor`: each thing that can be wrong is made wrong, and is found with what to do."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from citybrain.cli import machine
from citybrain.cli.configuration import City
from citybrain.cli.doctor import Here, checks
from citybrain.cli.machine import Finding
from citybrain.cli.status import Picture
from citybrain.event_store.read_models import Parked
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.local.certificates import for_mesh
from citybrain.local.child import MeshChild
from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings, Tls
from tests.helpers.city_command import run
from tests.helpers.waiting import until
from tests.unit.event_store.test_database import small

__all__ = ["small"]

AROUND = {"disk space", "data folder", "fsync", "open files", "clock", "lock", "mesh"}


def doctor(folder: Path, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    done = run(folder, "doctor", "--json", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def wrongs(folder: Path, *arguments: str) -> list[dict[str, str]]:
    """What it says is wrong; it ends with 1 where there is any, and says of each what to do."""
    code, findings = doctor(folder, *arguments)
    found = [finding for finding in findings if finding["state"] == "wrong"]
    assert code == (1 if found else 0)
    assert all(finding["do"] for finding in found)
    return found


def is_wrong(finding: Finding, *words: str) -> None:
    assert finding.state == "wrong", finding
    assert finding.do
    assert [word for word in words if word not in f"{finding.said} → {finding.do}"] == [], finding


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCity]:
    """A city that runs and is well, for those who only look."""
    with LocalCity(Settings(data=tmp_path_factory.mktemp("well") / "data")) as running:
        yield running


@pytest.fixture
def free_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


# -- the whole ------------------------------------------------------------------------------------------------------------


def test_on_a_healthy_machine_nothing_is_wrong_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("gateway: {port: 0}\n", encoding="utf-8")
    code, findings = doctor(tmp_path)
    assert [finding for finding in findings if finding["state"] == "wrong"] == []
    assert code == 0
    assert {finding["what"] for finding in findings} >= {"Python", "packages", "contracts", "Envoy", "configuration", *AROUND}
    assert [path.name for path in tmp_path.iterdir()] == ["city.yaml"]


def test_for_people_each_finding_has_a_mark_and_what_is_wrong_says_below_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("gatway: {port: 0}\n", encoding="utf-8")
    said = run(tmp_path, "doctor").stdout
    assert "✓ Python  3." in said
    assert "✗ configuration  city.yaml:1: there is no gatway: do you mean gateway?\n    → mend it there" in said


def test_a_configuration_that_is_wrong_does_not_keep_it_from_looking_at_the_rest(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("gatway: 1\nprot: 1\ngateway: {port: 0}\n", encoding="utf-8")
    _, findings = doctor(tmp_path)
    wrong = [finding["said"] for finding in findings if finding["what"] == "configuration"]
    assert [said.partition(": ")[0] for said in wrong] == ["city.yaml:1", "city.yaml:2"]
    assert {finding["what"] for finding in findings} >= AROUND


def test_what_production_refuses_is_found(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("profile: production\ngateway: {port: 0}\n", encoding="utf-8")
    wrong = [finding["said"] for finding in wrongs(tmp_path) if finding["what"] == "configuration"]
    assert any("token_key is not given" in said for said in wrong)


def test_every_check_has_a_name_of_its_own_to_be_told_while_it_lasts() -> None:
    assert len(checks()) == len(set(checks())) >= len(AROUND)


# -- what is installed ----------------------------------------------------------------------------------------------------


def test_a_python_that_is_too_old_is_wrong() -> None:
    is_wrong(machine.python((3, 10)), "3.10 is too old", "make setup")
    assert machine.python().state == "well"


def test_packages_other_than_the_lock_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "runtime.txt"
    lock.write_text(
        f"grpcio==0.0.1 \\\n    --hash=sha256:0\npydantic=={version('pydantic')} \\\nno-such-package==1.0 \\\n"
        "only-elsewhere==1.0 ; sys_platform == 'win32' \\\n",
        encoding="utf-8",
    )
    found = machine.packages(lock)
    is_wrong(found, f"grpcio is {version('grpcio')}, locked is 0.0.1", "no-such-package is missing", "make setup")
    assert "pydantic" not in found.said and "only-elsewhere" not in found.said


def test_a_lock_that_cannot_be_read_is_wrong(tmp_path: Path) -> None:
    lock = tmp_path / "runtime.txt"
    lock.write_text("grpcio==1.0 ; colour == 'red' \\\n", encoding="utf-8")
    is_wrong(machine.packages(lock), "runtime.txt cannot be read: grpcio==1.0", "make lock")
    assert machine.packages(tmp_path / "none.txt").state == "well"


def test_contracts_that_are_not_built_or_were_changed_since_are_wrong(tmp_path: Path) -> None:
    proto, built = tmp_path / "protos" / "a" / "a.proto", tmp_path / "build" / "descriptors.binpb"
    for path in (proto, built):
        path.parent.mkdir(parents=True)
    proto.touch()
    is_wrong(machine.contracts(tmp_path), "are not built", "make stubs")
    built.touch()
    os.utime(proto, ns=(0, 0))
    assert machine.contracts(tmp_path).state == "well"
    os.utime(built, ns=(1, 1))
    os.utime(proto, ns=(10**10, 10**10))
    is_wrong(machine.contracts(tmp_path), "protos/a/a.proto was changed after", "make stubs")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (None, "does not run"),
        ("#!/nowhere/sh\n", "does not run"),
        ("#!/bin/sh\necho no such library >&2\nexit 3\n", "code 3: no such"),
    ],
)
def test_an_envoy_that_does_not_run_is_wrong(tmp_path: Path, program: str | None, words: str) -> None:
    path = tmp_path / "envoy"
    if program is not None:
        path.write_text(program, encoding="utf-8")
        path.chmod(0o755)
    is_wrong(machine.envoy_runs(path), words, "make setup")


# -- disk, limits, clock --------------------------------------------------------------------------------------------------


def test_a_disk_without_room_is_wrong(tmp_path: Path) -> None:
    is_wrong(machine.space(tmp_path / "data", least=1 << 62), "MB are free", "make room")
    assert machine.space(tmp_path / "data").state == "well"


def test_a_data_folder_below_a_file_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    is_wrong(machine.can_write(tmp_path / "file" / "data"), "is no folder", "give another --data")


def test_a_data_folder_that_cannot_be_written_is_wrong() -> None:
    # Even root writes nothing there.
    for check in (machine.can_write, machine.disk_sync):
        is_wrong(check(Path("/proc/self")), "/proc/self cannot be used", "its folder and its disk are as they should be")


def test_a_full_disk_and_one_that_may_only_be_read_are_no_questions_of_rights(small: Path) -> None:
    filler = small / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass
    for check in (machine.can_write, machine.disk_sync):
        is_wrong(check(small), f"{small} cannot be used: its disk is full", "make room there, or give another --data")
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    for check in (machine.can_write, machine.disk_sync):
        is_wrong(check(small), f"{small} cannot be used: its disk may only be read", "have it made writable")


def test_what_this_user_may_not_write_is_a_question_of_rights(tmp_path: Path) -> None:
    found = machine._refused("data folder", tmp_path, PermissionError(errno.EACCES, "Permission denied"))
    is_wrong(found, f"this user ({os.getuid()}) may not write it", "have its owner give the rights")


def test_how_long_the_disk_takes_is_said_and_a_slow_one_is_only_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "median of" in machine.disk_sync(tmp_path).said
    monkeypatch.setattr(machine, "_SLOW_FSYNC_MS", -1.0)
    assert machine.disk_sync(tmp_path).state == "note"


def test_too_few_open_files_for_the_gateways_connections_are_wrong() -> None:
    is_wrong(machine.open_files(1024, 4096), "1024 may be open", "ulimit -n 4352")
    assert machine.open_files(4352, 4096).state == "well"


def test_a_limit_of_open_files_is_found_where_it_holds(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("gateway: {port: 0, max_connections: 100000000}\n", encoding="utf-8")
    (found,) = wrongs(tmp_path)
    assert f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]} may be open" in found["said"]


def test_a_clock_behind_the_log_is_wrong(city: LocalCity) -> None:
    before = time.time_ns() // 1000
    assert city.gateway is not None
    report = '{"channel": 1, "severity": 3, "place": {"edge_id": "e1"}}'
    made = run(city.data.parent, "call", "emergency_command/ReportEmergency", report, "--gateway", city.gateway.address)
    assert made.returncode == 0, made.stderr
    assert machine.clock(city.data, time.time_ns() // 1000).state == "well"
    is_wrong(machine.clock(city.data, before - 90 * 1_000_000), "s behind the newest event", "set the clock")


def test_a_log_that_is_no_log_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_text("It was a dark night." * 100, encoding="utf-8")
    is_wrong(machine.clock(tmp_path, 0), "events.db", "put it back from a backup")


def test_a_key_of_tokens_that_is_not_there_or_is_none_is_wrong(tmp_path: Path) -> None:
    key = tmp_path / "key"
    is_wrong(machine.token_key(key), f"there is no key of tokens at {key}", "head -c 32 /dev/urandom")
    key.write_bytes(b"short")
    is_wrong(machine.token_key(key), "is no key of 32 bytes", "remove it")
    key.write_bytes(b"k" * 32)
    assert machine.token_key(key).state == machine.token_key(None).state == "well"
    (tmp_path / "city.yaml").write_text("token_key: gone\ngateway: {port: 0}\n", encoding="utf-8")
    assert [finding["what"] for finding in wrongs(tmp_path)] == ["key of tokens"]


# -- ports and locks ------------------------------------------------------------------------------------------------------


def test_a_certificate_of_the_mesh_is_well_and_noted_before_it_ends_and_wrong_where_it_cannot_be_used(tmp_path: Path) -> None:
    made = for_mesh(tmp_path / "mesh-tls")
    made.renew()

    def found(tls: Tls) -> list[Finding]:
        at = Here(City(data=tmp_path, tls=tls), [])
        return list(checks()["certificate of the mesh"](at, Picture("here")))

    assert found(Tls()) == []
    (good,) = found(made.tls)
    assert good.state == "well" and "for 89 more days" in good.said
    (bad,) = found(made.tls.model_copy(update={"certificate": tmp_path / "none.pem"}))
    is_wrong(bad, "tls.certificate names", "cannot be read")
    made.certificate.unlink()
    made.renew(datetime.now(UTC) - timedelta(days=89))
    (soon,) = found(made.tls)
    assert soon.state == "note" and "for 0 more days" in soon.said


def test_a_port_that_is_taken_names_who_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        number = busy.getsockname()[1]
        (tmp_path / "city.yaml").write_text(f"gateway: {{port: {number}}}\n", encoding="utf-8")
        (found,) = wrongs(tmp_path)
    assert found["what"] == "port of the gateway"
    assert f"{number} on 127.0.0.1 is taken by process {os.getpid()} (" in found["said"]
    assert Path(sys.executable).name in found["said"]
    assert "choose another port" in found["do"]


def test_an_address_that_this_machine_has_not_is_wrong(free_port: int) -> None:
    is_wrong(machine.port("port", "192.0.2.1", free_port), "not available", "another port")


def test_a_folder_that_is_held_without_a_gateway_names_who_holds_it(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text("gateway: {port: 0}\n", encoding="utf-8")
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (found,) = wrongs(tmp_path)
    assert (found["what"], found["do"].endswith(f"kill {os.getpid()}")) == ("lock", True)
    assert wrongs(tmp_path) == [], "the lock of nobody is in nobody's way"


# -- the mesh -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> str:
    (tmp_path / "city.yaml").write_text("gateway: {port: 0}\n", encoding="utf-8")
    return "city.yaml"


def said_of(findings: list[dict[str, Any]], what: str) -> list[str]:
    return [finding["said"] for finding in findings if finding["what"] == what]


def test_of_a_city_that_runs_and_is_well_nothing_is_wrong(city: LocalCity) -> None:
    assert city.gateway is not None
    here = city.data.parent
    (here / "city.yaml").write_text(f"gateway: {{port: {city.gateway.port}}}\n", encoding="utf-8")
    until(lambda: run(here, "status").returncode == 0, "ready")
    code, findings = doctor(here)
    assert code == 0, findings
    assert said_of(findings, "mesh") == ["what runs on data: 1 process; all is ready"]
    assert f"{city.gateway.port} on 127.0.0.1 is this city's own" in said_of(findings, "port of the gateway")
    assert f"held by process {os.getpid()}" in said_of(findings, "lock")[0]


def test_what_was_killed_is_told_and_is_not_wrong(tmp_path: Path, settings: str) -> None:
    with MeshChild(tmp_path / "data", ["health"]) as child:
        pid = child.pid
        child.kill()
        code, findings = doctor(tmp_path)
    assert code == 0
    assert said_of(findings, "mesh") == [f"health (process {pid}) ended unexpectedly", "nothing runs on data"]


def test_what_is_not_ready_in_the_mesh_is_wrong(tmp_path: Path, settings: str) -> None:
    with MeshChild(tmp_path / "data", ["sagas"]):
        found = wrongs(tmp_path)
    assert all(finding["what"] == "mesh" for finding in found)
    assert any("citybrain.traffic.v1.TrafficService runs nowhere" in finding["said"] for finding in found)


def test_parked_events_are_wrong_and_say_where_their_reason_stands(tmp_path: Path, settings: str) -> None:
    data = tmp_path / "data"
    group = "health.view.roads"
    parked = Parked(1, "traffic/roads-e1", "id", "citybrain.traffic.v1.RoadsPublished", "KeyError", 0)

    async def park() -> None:
        file = SqliteReadModels(data / "health.views.db")
        epoch, _ = await file.join(group)
        await file.park(group, epoch, [parked])
        file.close()

    asyncio.run(park())
    with MeshChild(data, ["health"]):
        until(lambda: run(tmp_path, "status").returncode == 0, "ready")
        (found,) = wrongs(tmp_path)
    assert found["said"] == f"{group} has 1 parked event"
    assert f"`city events parked {group}` names them" in found["do"]


def test_files_that_are_left_of_a_city_are_in_nobodys_way(tmp_path: Path, settings: str, city: LocalCity) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(city.data, kept)
    assert wrongs(tmp_path, "--data", "kept") == []
    with LocalCity(Settings(data=kept)):
        assert len(list((kept / "processes").iterdir())) == 3, "what others left was not taken away"
