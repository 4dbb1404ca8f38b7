"""Kafka and Cassandra as processes: found again, never outliving who they belong to, never mistaken for a stranger."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from citybrain.local.engine_processes import EngineProcesses
from citybrain.local.errors import EngineError, NotFetched
from citybrain.local.jars import CACHE_VARIABLE, class_path
from citybrain.local.kafka import Kafka
from citybrain.local.tcp_ports import HOST
from tests.helpers.city_command import run

LIMIT_S = 60
STARTER = "import sys, time; from citybrain.local.kafka import Kafka; from pathlib import Path\n"
STARTER += "kafka = Kafka(Path(sys.argv[1])); kafka.start(); print('up', flush=True); time.sleep(600)"


@pytest.fixture
def kafka(tmp_path: Path, engines: EngineProcesses) -> Iterator[Kafka]:
    """One that a test may do anything to; `engines`, so that its jars are there."""
    one = Kafka(tmp_path / "kafka")
    yield one
    one.stop()


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def city(*arguments: str) -> subprocess.CompletedProcess[str]:
    jars = {name: text for name, text in os.environ.items() if name == CACHE_VARIABLE}
    return run(Path.cwd(), "engines", *arguments, limit_s=110, more=jars)


def test_both_answer_within_the_memory_that_is_theirs(engines: EngineProcesses) -> None:
    assert engines.kafka.healthy and engines.cassandra.healthy
    assert 0 < sum(engine.memory_bytes for engine in engines.all) < 1_300_000_000


def test_one_that_was_killed_comes_back_at_its_address_with_what_it_had(kafka: Kafka) -> None:
    kafka.start()
    address = kafka.address
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic("kept", 3, 1)])["kept"].result(LIMIT_S)
    kafka.kill()
    assert not kafka.running and not kafka.healthy
    kafka.start()
    assert kafka.address == address
    assert len(admin.list_topics("kept", timeout=LIMIT_S).topics["kept"].partitions) == 3
    before = kafka.pid
    kafka.restart()
    assert kafka.healthy and kafka.pid != before


def test_one_that_stands_still_does_not_answer_until_it_goes_on_and_can_be_stopped_meanwhile(kafka: Kafka) -> None:
    kafka.start()
    kafka.pause()
    assert kafka.running and not kafka.healthy
    kafka.resume()
    until(lambda: kafka.healthy)
    kafka.pause()
    kafka.stop()
    assert not kafka.running


def test_nothing_is_left_when_the_process_that_started_it_is_killed(tmp_path: Path, kafka: Kafka) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(kafka.folder)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None and starter.stdout.readline() == "up\n"
    assert kafka.healthy
    starter.kill()
    starter.wait()
    starter.stdout.close()
    until(lambda: not kafka.running)


def test_one_that_crashes_leaves_its_report_in_its_folder_and_says_where(kafka: Kafka) -> None:
    kafka.start()
    os.kill(kafka.pid, signal.SIGSEGV)
    until(lambda: not kafka.running)
    report = kafka.folder / "kafka-crash.log"
    assert "SIGSEGV" in report.read_text(errors="replace")
    assert any(str(report) in line for line in kafka.tail())


def test_the_file_of_one_that_ended_names_nobody(kafka: Kafka, tmp_path: Path) -> None:
    kafka.folder.mkdir()
    # The number of a process that lives, and is none of ours.
    (kafka.folder / "engine.pid").write_text(str(os.getpid()))
    assert not kafka.running
    kafka.kill()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} .* in use: stop what uses it, or choose another port"):
            Kafka(tmp_path, port).start()


def test_one_that_cannot_start_says_its_last_words(kafka: Kafka) -> None:
    kafka.start()
    kafka.stop()
    properties = kafka.folder / "data" / "meta.properties"
    properties.write_text(properties.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(EngineError, match="ended while it started") as refused:
        kafka.start()
    assert "kafka.log" in str(refused.value) and "node" in str(refused.value)
    assert not kafka.running


def test_the_command_line_starts_them_they_stay_and_are_found_and_it_stops_them(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    nothing = city("status", *data)
    assert nothing.returncode == 2 and "city engines up" in nothing.stderr
    up = city("up", *data, "--kafka-port", "0", "--cassandra-port", "0")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        status = city("status", "--json", *data)
        assert status.returncode == 0
        told = {one["name"]: one for one in json.loads(status.stdout)}
        assert {one["state"] for one in told.values()} == {"ready"}
        assert told["cassandra"]["address"] in up.stdout and told["kafka"]["address"] in up.stdout
        again = city("up", *data, "--kafka-port", "0", "--cassandra-port", "0")
        assert f"process {told['kafka']['pid']}" in again.stdout
        EngineProcesses(tmp_path / "engines").kafka.kill()
        assert city("status", *data).returncode == 1
        assert city("logs", "cassandra", "-n", "3", *data).stdout.count("cassandra: ") == 3
    finally:
        down = city("down", *data)
    assert down.stdout.strip() == "stopped: cassandra"
    assert city("status", *data).returncode == 2


def test_a_jar_that_is_not_the_one_of_the_lock_is_never_used(
    engines: EngineProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [Path(one) for one in class_path("kafka", lambda _line: None).split(os.pathsep)]
    said: list[str] = []
    root = Path(os.path.commonpath(good))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    for path in good:
        there = tmp_path / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(path)
    spoilt = tmp_path / good[0].relative_to(root)
    spoilt.unlink()
    spoilt.write_bytes(b"something else")
    try:
        fetched = class_path("kafka", said.append)
    except NotFetched:
        pass
    else:
        assert Path(fetched.split(os.pathsep)[0]).read_bytes() == good[0].read_bytes()
    assert "1 of" in said[0]
