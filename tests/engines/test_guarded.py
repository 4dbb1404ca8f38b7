"""Engines that ask for TLS, certificates, names and passwords: what is said in the configuration is all that it takes."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.store import StoreError
from citybrain.local.child import MeshChild
from citybrain.local.engine_processes import EngineProcesses
from citybrain.mesh.settings.values import Cassandra, Kafka, Personal, Settings
from tests.engines.certificates import Authority
from tests.engines.commands import city
from tests.engines.guarded import GuardedCassandra, GuardedKafka
from tests.helpers.callers import calling

# Two engines more are started, and who is not let in goes on trying for a while.
pytestmark = pytest.mark.timeout(300)
LIMIT_S = 60.0
VERIFY = ("log", "verify", "--json")
KEYSPACES = {"city": "streams", "keeper": "streams_keys"}


@dataclass
class Guarded:
    """Both engines, and what lets a city in."""

    kafka: GuardedKafka
    cassandra: GuardedCassandra
    authority: Authority
    passwords: Path
    settings: Settings


@pytest.fixture(scope="module")
def guarded(engines: EngineProcesses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """`engines`, so that their jars are there."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder / "authority")
    kafka, cassandra = GuardedKafka(folder / "kafka", authority), GuardedCassandra(folder / "cassandra", authority)
    passwords = folder / "passwords"
    passwords.mkdir()
    for name in ("city", "keeper", "cassandra", "prepare", "modest", "modest_keeper"):
        (passwords / name).write_text("cassandra" if name == "cassandra" else f"{name}'s own password\n")
    certificate, key, _ = authority.vouch("city")
    with ExitStack() as stack:
        for engine in (kafka, cassandra):
            stack.callback(engine.stop)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda engine: engine.start(), (kafka, cassandra)))
        let_in_at_kafka(kafka, "city", "city's own password")
        asyncio.run(let_in_at_cassandra(first_user(cassandra, authority, passwords)))
        yield Guarded(
            kafka, cassandra, authority, passwords,
            Settings(
                data=folder / "data",
                store="distributed",
                kafka=Kafka(
                    addresses=kafka.guarded, tls=True, authorities=authority.trusted, certificate=certificate,
                    certificate_key=key, sasl_mechanism="SCRAM-SHA-512", user="city", password_file=passwords / "city",
                ),
                cassandra=Cassandra(
                    addresses=cassandra.address, keyspace="streams", tls=True, authorities=authority.trusted, user="city",
                    password_file=passwords / "city", keys_user="keeper", keys_password_file=passwords / "keeper",
                ),
            ),
        )  # fmt: skip


def let_in_at_kafka(kafka: GuardedKafka, user: str, password: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192)
    asked = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, info, password.encode())])
    for done in asked.values():
        done.result(LIMIT_S)


def first_user(cassandra: GuardedCassandra, authority: Authority, passwords: Path) -> Place:
    return Place(
        cassandra.address, tls=True, authorities=authority.trusted, user="cassandra", password_file=passwords / "cassandra"
    )


async def administered(first: Place, *statements: str) -> None:
    """What an administrator does."""
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            asked = await Asked.open(first)
            break
        except StoreError:
            # The first user is made when it has begun to listen.
            assert time.monotonic() < end
            await asyncio.sleep(0.2)
    try:
        for statement in statements:
            await asked.ask(statement)
    finally:
        asked.close()


def role(name: str) -> str:
    return f"CREATE ROLE {name} WITH LOGIN = true AND PASSWORD = '{name}''s own password'"


async def let_in_at_cassandra(first: Place) -> None:
    """Keyspaces, a user for each, and for nothing else."""
    for user, keyspace in KEYSPACES.items():
        await administered(
            first,
            f"CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
            role(user),
            f"GRANT ALL PERMISSIONS ON KEYSPACE {keyspace} TO {user}",
        )


def take_an_emergency(settings: Settings) -> None:
    """Through a service, the log and a view."""
    with MeshChild(settings.data, ["emergency_command"], settings=settings) as child, calling(child) as channel:
        command: Any = EmergencyCommandServiceStub(channel)
        asked = pb.ReportEmergencyRequest(
            channel=pb.CHANNEL_PHONE, severity=pb.SEVERITY_SERIOUS, place=RoadPlace(edge_id="e1"), another_patient=True,
            reporter=pb.Contact(name="王建国", phone="+8613800001111"),
        )  # fmt: skip
        incident = command.ReportEmergency(asked, timeout=LIMIT_S).incident
        end = time.monotonic() + LIMIT_S
        while not (listed := command.ListIncidents(pb.ListIncidentsRequest(), timeout=LIMIT_S).incidents):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert [(one.incident_id, one.reporter.name) for one in listed] == [(incident.incident_id, "王建国")]


def test_a_city_that_is_let_in_works_and_nobody_but_the_keeper_of_keys_reads_them(guarded: Guarded, tmp_path: Path) -> None:
    take_an_emergency(guarded.settings)
    said = city(guarded.settings, tmp_path, *VERIFY)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["events"] >= 1

    async def read(user: str) -> None:
        first = first_user(guarded.cassandra, guarded.authority, guarded.passwords)
        asked = await Asked.open(replace(first, user=user, password_file=guarded.passwords / user))
        try:
            assert await asked.ask("SELECT * FROM streams_keys.persons")
        finally:
            asked.close()

    asyncio.run(read("keeper"))
    with pytest.raises(StoreError, match=r"refused.*city has no SELECT permission on <table streams_keys\.persons>"):
        asyncio.run(read("city"))


def test_once_the_engines_are_prepared_services_need_no_right_to_make_anything(guarded: Guarded, tmp_path: Path) -> None:
    def under(user: str, keeper: str, data: str) -> Settings:
        names = {"user": user, "keys_user": keeper, "keyspace": "prepared"}
        files = {"password_file": guarded.passwords / user, "keys_password_file": guarded.passwords / keeper}
        said = guarded.settings
        return said.model_copy(
            update={
                "data": tmp_path / data,
                "kafka": said.kafka.model_copy(update={"prefix": "prepared"}),
                "cassandra": said.cassandra.model_copy(update={**names, **files}),
            }
        )

    first = first_user(guarded.cassandra, guarded.authority, guarded.passwords)
    roles = [role(name) for name in ("prepare", "modest", "modest_keeper")]
    asyncio.run(administered(first, *roles, "GRANT CREATE ON ALL KEYSPACES TO prepare"))
    refused = city(under("modest", "modest_keeper", "data"), tmp_path, "prepare")
    assert refused.returncode == 2 and "modest has no CREATE permission" in refused.stderr, refused
    # A second time nothing is left to do.
    for _ in range(2):
        made = city(under("prepare", "prepare", "job"), tmp_path, "prepare")
        assert made.returncode == 0, made.stderr
    granted = [f"GRANT {right} ON KEYSPACE prepared TO modest" for right in ("SELECT", "MODIFY")]
    granted += [f"GRANT {right} ON KEYSPACE prepared_keys TO modest_keeper" for right in ("SELECT", "MODIFY")]
    asyncio.run(administered(first, *granted))
    modest = under("modest", "modest_keeper", "data")
    # The master key is one for all who open keys; here the job has made it.
    take_an_emergency(modest.model_copy(update={"personal": Personal(master_key=tmp_path / "job" / "keys" / "master.key")}))


# What is wrong, and what is said of it. Who shows Kafka no certificate may be cut off before he hears why.
NOT_LET_IN: list[tuple[str, dict[str, Any], str]] = [
    ("kafka", {"password_file": "keeper"}, "Authentication failed during authentication due to invalid credentials"),
    ("kafka", {"authorities": None}, "broker certificate could not be verified"),
    (
        "kafka",
        {"certificate": None, "certificate_key": None},
        r"certificate|does not let us in: .*(Send failed|Disconnected)|say so: `kafka\.tls`",
    ),
    ("kafka", {"tls": False}, r"say so: `kafka\.tls`|connecting to a SSL listener"),
    ("cassandra", {"password_file": "keeper"}, "set the login in `cassandra.user`"),
    ("cassandra", {"keys_user": ""}, "User city has no"),
    ("cassandra", {"authorities": None}, "set the trusted authorities in `cassandra.authorities`"),
    ("cassandra", {"tls": False}, "say so: `cassandra.tls`"),
]


def test_who_is_not_let_in_is_told_why_in_a_line_and_without_a_traceback(guarded: Guarded, tmp_path: Path) -> None:
    def told(number: int) -> subprocess.CompletedProcess[str]:
        engine, instead, _ = NOT_LET_IN[number]
        said = getattr(guarded.settings, engine)
        other = {name: guarded.passwords / text if text and "file" in name else text for name, text in instead.items()}
        settings = guarded.settings.model_copy(update={engine: said.model_copy(update=other)})
        folder = tmp_path / str(number)
        folder.mkdir()
        return city(settings, folder, *VERIFY)

    # Each of them goes on trying for a while.
    with ThreadPoolExecutor(len(NOT_LET_IN)) as pool:
        for (engine, instead, why), done in zip(NOT_LET_IN, pool.map(told, range(len(NOT_LET_IN))), strict=True):
            assert done.returncode == 2, (instead, done.stdout)
            assert "Traceback" not in done.stderr
            *others, line = done.stderr.splitlines()
            # While Kafka is tried for a while, Cassandra's driver may say something of its own.
            assert engine == "kafka" or not others, (instead, others)
            assert line.startswith(f"city: {engine.title()} ") and re.search(why, line), (instead, line)
