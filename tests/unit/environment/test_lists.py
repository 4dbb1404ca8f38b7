"""Lists read the rows of their page, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.service import View
from citybrain.mesh.testing import Running
from tests.unit.environment.conftest import moment, now, station

MANY, DISTRICTS = 900, ("xihu", "gongshu")


class Reads:
    """How many rows of read models were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Counts from now on."""
        self.rows = 0
        whole, one = View.rows, View.row

        async def rows(view: View[Any], after: str = "", limit: int = -1) -> list[tuple[str, Any]]:
            found = await whole(view, after, limit)
            self.rows += len(found)
            return found

        async def row(view: View[Any], key: str) -> Any:
            self.rows += 1
            return await one(view, key)

        monkeypatch.setattr(View, "rows", rows)
        monkeypatch.setattr(View, "row", row)


def events(at: int) -> Iterator[Any]:
    """Many exceedances, the newest last; each tenth is open, each third of the others was retracted."""
    for n in range(MANY):
        key, district = f"exc-{n:012x}", DISTRICTS[n % 2]
        reading = pb.SupportingReading(station_id="a1", sensor_id="so2", value=700, measured_at=moment(at - MANY + n))
        yield ev.ExceedanceSuspected(
            exceedance_id=key, medium=pb.MEDIUM_AIR, quantity=pb.QUANTITY_SO2, limit=500, reading=reading,
            district_id=district, suspected_at=moment(at),
        )  # fmt: skip
        if n % 10 == 0:
            continue
        if n % 3 == 0:
            yield ev.ExceedanceRetracted(exceedance_id=key, district_id=district)
        else:
            yield ev.ExceedanceVerified(exceedance_id=key, district_id=district)
            yield ev.ExceedanceEnded(exceedance_id=key, district_id=district)


def listed(environment: Running, **question: Any) -> tuple[list[int], str]:
    """The numbers of exceedances, and the next token."""
    answer = environment.fire("ListExceedances", pb.ListExceedancesRequest(**question))
    return [int(one.exceedance_id[4:], 16) for one in answer.exceedances], answer.next_page_token


def test_of_many_exceedances_a_page_reads_its_own_rows(environment: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    told = list(events(now(environment)))
    for begin in range(0, len(told), 90):
        environment.tell(*told[begin : begin + 90])
    environment.rest()
    listed(environment, states=[pb.EXCEEDANCE_STATE_SUSPECTED])
    reads = Reads(monkeypatch)
    first, token = listed(environment)
    assert first == list(range(MANY - 1, MANY - 51, -1))
    assert listed(environment, page_token=token)[0] == list(range(MANY - 51, MANY - 101, -1))
    of_xihu, token = listed(environment, district_id="xihu", page_size=20)
    assert of_xihu == list(range(MANY - 2, MANY - 42, -2))
    assert listed(environment, district_id="xihu", page_size=20, page_token=token)[0][0] == MANY - 42
    assert listed(environment, district_id="x") == ([], "")
    # Those that are open are few among many that are over, and are read by themselves.
    still, token = listed(environment, states=[pb.EXCEEDANCE_STATE_SUSPECTED, pb.EXCEEDANCE_STATE_VERIFIED], page_size=30)
    assert still == list(range(MANY - 10, MANY - 310, -10))
    both = [pb.EXCEEDANCE_STATE_SUSPECTED, pb.EXCEEDANCE_STATE_VERIFIED]
    assert listed(environment, states=both, page_size=30, page_token=token)[0][0] == MANY - 310
    assert listed(environment, states=[pb.EXCEEDANCE_STATE_VERIFIED]) == ([], "")
    assert listed(environment, states=[pb.EXCEEDANCE_STATE_SUSPECTED], district_id="gongshu") == ([], "")
    assert reads.rows < 1000
    # Those that were retracted are looked for among the newest.
    gone, _ = listed(environment, states=[pb.EXCEEDANCE_STATE_RETRACTED], page_size=20)
    assert gone == [n for n in range(MANY - 1, 0, -1) if n % 3 == 0 and n % 10][:20]
    assert reads.rows < 1300


def test_stations_are_read_page_by_page(environment: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"s{n:04d}" for n in range(1200)]
    told = [ev.StationRegistered(station=station(name), district_id="xihu") for name in names]
    for begin in range(0, len(told), 90):
        environment.tell(*told[begin : begin + 90])
    environment.rest()
    reads, found, token, pages = Reads(monkeypatch), list[str](), "", 0
    while pages == 0 or token:
        answer = environment.fire("ListStations", pb.ListStationsRequest(page_size=100, page_token=token))
        found += [one.station_id for one in answer.stations]
        token, pages = answer.next_page_token, pages + 1
        if pages == 1:
            assert reads.rows <= 200
    assert found == ["a1", *names]
