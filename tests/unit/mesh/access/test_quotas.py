"""What a consumer may use on a day: by a clock that is moved, on files that several processes share, in a real process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub
from citybrain.mesh.v1.mesh_service_pb2 import ListQuotasRequest
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from typer.testing import CliRunner
from typing_extensions import override

from citybrain.cli.quotas import quotas as command
from citybrain.event_store.quotas import Key, Used
from citybrain.event_store.sqlite.quotas import SqliteQuotas
from citybrain.event_store.store import StoreError
from citybrain.local.child import MeshChild
from citybrain.mesh.access.limits import CLASSES, HANGZHOU
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.access.quotas import Quotas
from citybrain.mesh.errors import QuotaUsed
from citybrain.mesh.settings.values import OwnQuota, Settings
from citybrain.mesh.settings.values import Quotas as Configured
from tests.helpers.callers import calling, service_bearer

READ, COMMAND, STREAM = range(3)
THREE = Configured(read=3, command=2, stream=1)
LI, WANG = Principal("li", team="health"), Principal("wang", team="water")
NOON = datetime(2026, 1, 5, 12, tzinfo=HANGZHOU).timestamp()
DAY_S = 86_400
LIMIT_S = 60
NEVER_S = 3600.0
Test = Callable[["City"], Awaitable[None]]


class Book(SqliteQuotas):
    """One that can be away."""

    away = False

    @override
    async def read(self, day: int, consumers: Sequence[bytes], process: bytes) -> dict[Key, Used]:
        self.check()
        return await super().read(day, consumers, process)

    @override
    async def write(self, day: int, process: bytes, own: Mapping[Key, int]) -> None:
        self.check()
        await super().write(day, process, own)

    @override
    async def most_used(self, day: int, most: int) -> dict[bytes, dict[str, int]]:
        self.check()
        return await super().most_used(day, most)

    def check(self) -> None:
        if self.away:
            raise StoreError("away")


class City:
    """A clock that stands until it is moved, and processes on one folder. They exchange when a test says so."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.now = NOON
        self.books: list[Book] = []

    async def process(self, configured: Configured = THREE, *, away: bool = False, most_known: int = 100) -> Quotas:
        book = Book(self._folder / "quotas.db")
        book.away = away
        self.books.append(book)
        quotas = Quotas(lambda: book, configured, now=lambda: self.now, exchange_s=NEVER_S, most_known=most_known)
        await quotas.begin()
        return quotas

    def close(self) -> None:
        for book in self.books:
            book.close()


def on_city(folder: Path, test: Test) -> None:
    async def run() -> None:
        city = City(folder)
        await asyncio.wait_for(test(city), LIMIT_S)
        city.close()

    asyncio.run(run())


def admitted(quotas: Quotas, caller: Principal = LI, number: int = READ, tried: int = 10) -> int:
    """How many of some calls are admitted."""
    found = 0
    for _ in range(tried):
        try:
            quotas.admit(caller, number)
            found += 1
        except QuotaUsed:
            pass
    return found


def test_each_class_and_each_consumer_has_a_quota_of_its_own(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process()
        assert [admitted(quotas, caller, number) for caller in (LI, WANG) for number in range(3)] == [3, 2, 1, 3, 2, 1]

    on_city(tmp_path, test)


def test_who_is_over_it_is_told_how_much_it_was_and_when_it_begins_anew(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process()
        admitted(quotas)
        with pytest.raises(
            QuotaUsed, match=r"li has used up today's quota of 3 calls that read: .* 2026-01-06T00:00:00\+08:00"
        ) as told:
            quotas.admit(LI, READ)
        assert (told.value.code, told.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_USED")
        assert told.value.retry_after_s == DAY_S / 2
        assert told.value.told == {"class": "read", "limit": "3", "begins_anew": "2026-01-06T00:00:00+08:00"}

    on_city(tmp_path, test)


def test_it_begins_anew_at_midnight_in_hangzhou_not_before(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process()
        assert admitted(quotas) == 3
        await quotas.exchange()
        city.now = NOON + DAY_S / 2 - 0.001
        assert admitted(quotas) == 0
        city.now += 0.001
        assert admitted(quotas, tried=2) == 2
        await quotas.exchange()
        assert admitted(await city.process()) == 1, "the day before is another one in the file too"

    on_city(tmp_path, test)


def test_what_was_counted_before_midnight_and_not_written_is_no_part_of_the_new_day(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process()
        assert admitted(quotas) == 3
        city.now += DAY_S
        assert admitted(quotas, tried=1) == 1
        await quotas.exchange()
        assert admitted(await city.process()) == 2

    on_city(tmp_path, test)


def test_a_process_that_is_started_again_goes_on_from_the_count_before(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        first = await city.process()
        assert admitted(first, tried=2) == 2
        await first.close()
        second = await city.process()
        assert admitted(second) == 1
        await second.close()
        assert admitted(await city.process()) == 0

    on_city(tmp_path, test)


def test_processes_add_up(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        first, second = await city.process(), await city.process()
        assert admitted(first, tried=1) == admitted(second, tried=1) == 1
        for one in (first, second, first):
            admitted(one, WANG, tried=1)
            await one.exchange()
        assert admitted(second) == 1, "it has read what the first one wrote"
        await second.exchange()
        # The first one does not know that yet. What is too much is what comes between two exchanges.
        assert admitted(first) == 2
        await first.exchange()
        assert admitted(first) == admitted(second) == 0
        assert await used(city, LI) == {"read": 5}

    on_city(tmp_path, test)


async def used(city: City, caller: Principal) -> dict[str, int]:
    """What a process that has just begun knows of a consumer."""
    fresh = await city.process(Configured(read=0, command=0, stream=0))
    fresh.admit(caller, STREAM)
    (found,) = [one.used for one in await fresh.today(100) if one.principal == caller]
    return {name: number for name, number in found.items() if name != "stream"}


def test_exceptions_are_by_subject_then_by_team_then_for_all(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process(
            Configured(
                read=1,
                command=1,
                stream=0,
                subjects={"li": OwnQuota(read=4)},
                teams={"health": OwnQuota(read=2, command=3), "free": OwnQuota(read=0)},
            )
        )
        chen, free = Principal("chen", team="health"), Principal("zhao", team="free")
        assert [admitted(quotas, LI, number) for number in range(3)] == [4, 3, 10]
        assert [admitted(quotas, chen, number) for number in range(3)] == [2, 3, 10], "each of a team has a quota of its own"
        assert [admitted(quotas, WANG, number) for number in range(3)] == [1, 1, 10]
        assert [admitted(quotas, free, number) for number in range(3)] == [10, 1, 10]

    on_city(tmp_path, test)


def test_another_token_of_a_consumer_counts_for_the_same_consumer(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process(Configured(read=3, teams={"health": OwnQuota(read=5)}))
        assert admitted(quotas, Principal("li", team="other")) == 3
        assert admitted(quotas, LI) == 2

    on_city(tmp_path, test)


def test_services_have_no_quota_also_not_on_behalf_of_somebody(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process()
        assert admitted(quotas, Principal("service:sagas")) == 10
        assert admitted(quotas, Principal("li", actor="service:sagas")) == 10
        assert admitted(quotas, LI) == 3
        await quotas.exchange()
        assert await used(city, LI) == {"read": 3}

    on_city(tmp_path, test)


def test_who_may_do_everything_is_counted_and_not_refused_unless_a_quota_of_theirs_is_set(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        operator = Principal("operator", scopes=frozenset(["*"]))
        quotas = await city.process()
        assert admitted(quotas, operator) == 10
        await quotas.exchange()
        assert await used(city, operator) == {"read": 10}
        assert admitted(await city.process(Configured(subjects={"operator": OwnQuota(read=12)})), operator) == 2

    on_city(tmp_path, test)


def test_refused_calls_do_not_count(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process()
        admitted(quotas, tried=500)
        await quotas.exchange()
        assert await used(city, LI) == {"read": 3}

    on_city(tmp_path, test)


def test_while_the_store_is_away_counting_goes_on_and_all_is_written_when_it_is_back(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process(away=True)
        (book,) = city.books
        assert admitted(quotas, tried=2) == 2
        with pytest.raises(StoreError):
            await quotas.exchange()
        assert admitted(quotas) == 1
        book.away = False
        await quotas.close()
        assert await used(city, LI) == {"read": 3}

    on_city(tmp_path, test)


def test_consumers_that_were_not_seen_for_long_are_dropped_and_their_count_stays(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process(most_known=2)
        many = [Principal(f"app-{number}") for number in range(4)]
        for one in many:
            assert admitted(quotas, one, tried=2) == 2
        await quotas.exchange()
        assert {one.principal for one in await quotas.today(100)} == {None, many[2], many[3]}
        assert admitted(quotas, many[0], tried=1) == 1
        await quotas.exchange()
        assert admitted(quotas, many[0]) == 0
        assert [await used(city, one) for one in many] == [{"read": 3}, *[{"read": 2}] * 3]

    on_city(tmp_path, test)


@pytest.mark.tells("field consumers")
def test_no_more_than_twice_as_many_are_held_while_the_store_is_away(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process(most_known=2, away=True)
        for number in range(50):
            assert admitted(quotas, Principal(f"app-{number}"), tried=1) == 1
            with pytest.raises(StoreError):
                await quotas.exchange()
        assert len(quotas._known) == len(quotas._called) == 4
        city.books[0].away = False
        await quotas.close()
        assert [await used(city, Principal(f"app-{number}")) for number in (45, 46, 49)] == [{}, {"read": 1}, {"read": 1}]

    on_city(tmp_path, test)


def test_calls_that_come_while_processes_exchange_are_counted_once(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process(Configured(read=0))
        exchanging = None
        for number in range(2_000):
            quotas.admit(LI, READ)
            if exchanging is None or exchanging.done():
                exchanging = asyncio.ensure_future(quotas.exchange())
            if number % 7 == 0:
                await asyncio.sleep(0)
        await quotas.close()
        assert await used(city, LI) == {"read": 2_000}

    on_city(tmp_path, test)


def test_only_digests_are_in_the_file(tmp_path: Path) -> None:
    async def test(city: City) -> None:
        quotas = await city.process()
        quotas.admit(Principal("app-hangzhou-13800001111"), READ)
        await quotas.close()

    on_city(tmp_path, test)
    assert not [path for path in tmp_path.iterdir() if b"hangzhou" in path.read_bytes()]


def refusal(error: Any) -> tuple[error_details_pb2.ErrorInfo, int]:
    """The reason, and in how many seconds it begins anew."""
    status = rpc_status.from_call(error)
    assert status is not None
    info, again = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(one.Unpack(info) for one in status.details) and any(one.Unpack(again) for one in status.details)
    assert dict(error.trailing_metadata())["retry-after"] == str(again.retry_delay.seconds)
    return info, again.retry_delay.seconds


def test_a_real_process_refuses_the_fourth_call_also_after_it_was_started_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = Settings(data=data, quotas=Configured(subjects={"app": OwnQuota(read=3)}))
    app: dict[str, Any] = {"subject": "app", "scopes": ["health.read"], "team": "apps"}
    request = health.ListAmbulancesRequest()
    with MeshChild(data, ["health"], settings=settings) as child:
        with calling(child, **app) as channel:
            stub = HealthServiceStub(channel)
            with pytest.raises(grpc.RpcError) as forbidden:
                MeshServiceStub(channel).ListQuotas(ListQuotasRequest(), timeout=LIMIT_S)
            assert forbidden.value.code() is grpc.StatusCode.PERMISSION_DENIED
            for _ in range(2):
                stub.ListAmbulances(request, timeout=LIMIT_S)
        child.stop()
        child.start()
        with calling(child, **app) as channel, calling(child, subject="other") as other:
            stub = HealthServiceStub(channel)
            stub.ListAmbulances(request, timeout=LIMIT_S)
            for _ in range(2):
                with pytest.raises(grpc.RpcError) as told:
                    stub.ListAmbulances(request, timeout=LIMIT_S)
                info, again_s = refusal(told.value)
                assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert (info.reason, info.metadata["class"], info.metadata["limit"]) == ("QUOTA_USED", "read", "3")
                assert 0 < again_s <= DAY_S
            HealthServiceStub(other).ListAmbulances(request, timeout=LIMIT_S)
            service = [service_bearer(data, "sagas", behalf="app")]
            with grpc.insecure_channel(child.address) as mesh:
                HealthServiceStub(mesh).ListAmbulances(request, metadata=service, timeout=LIMIT_S)
        shown = listed(data, "--json")
        (one,) = [one for one in json.loads(shown)["consumers"] if one["subject"] == "app"]
        assert (one["team"], one["read"], one["command"]) == ("apps", {"used": 3, "limit": 3}, {"used": 0, "limit": 200_000})
        (first, *_) = [line for line in listed(data).splitlines() if "of" in line]
        assert first.split() == ["app", "apps", "3", "of", "3", "0", "of", "200000", "0", "of", "20000"]


def listed(data: Path, *arguments: str) -> str:
    import typer

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, ["--data", str(data), *arguments])
    assert done.exit_code == 0, done.exception
    return done.stdout


def test_the_classes_are_those_of_the_settings() -> None:
    assert set(CLASSES) == set(OwnQuota.model_fields) < set(Configured.model_fields)
