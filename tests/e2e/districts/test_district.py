"""A district that hears, answers and reports: through the gateway only, with a token of its own and the client."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.clock.v1.clock_pb2 import AdvanceRequest, RestRequest
from citybrain.clock.v1.clock_pb2_grpc import ClockServiceStub
from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.identity.v1 import identity_service_pb2 as identity
from citybrain.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import events_pb2 as traffic_events
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.client import City, Heard, Place, Subscription, problem_of
from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import channel, token
from tests.helpers.line import Line
from tests.helpers.waiting import until

START = 1_767_600_000
LIMIT_S = 60
SCOPES = ("district.read", "district.acknowledge", "district.report", "usage.read")
NOTIFIED = ev.DistrictNotified.DESCRIPTOR.full_name


class Capital:
    """The city's own side: it tells districts."""

    def __init__(self, city: LocalCity) -> None:
        assert city.gateway is not None and city.mesh is not None
        self.local, self.gateway = city, city.gateway.address
        # Past the gateway: the city goes on while a district cannot reach it.
        self.channel = channel(next(iter(city.mesh.addresses.values())), city.data)
        self.hub: Any = DistrictHubServiceStub(self.channel)
        self.clock: Any = ClockServiceStub(self.channel)
        self.now = START
        self.told = 0

    def tell(self) -> str:
        """Tells both districts of an incident; its id."""
        self.told += 1
        incident = f"inc{self.told:05d}"
        request = pb.NotifyDistrictsRequest(incident_id=incident, round_id="r", edge_ids=["e1", "e2"], vehicle_id="a1")
        assert len(self.hub.NotifyDistricts(request, timeout=LIMIT_S).notices) == 2
        return incident

    def pass_time(self, seconds: int) -> None:
        """City time goes on."""
        self.now += seconds
        self.clock.Advance(AdvanceRequest(time=Timestamp(seconds=self.now)), timeout=LIMIT_S)

    def token(self, district: str, *scopes: str, **claims: Any) -> str:
        """A token of a district."""
        claims = {"district": district, "clearance": "INTERNAL", **claims}
        return token(self.local.data, f"desk:{district}", scopes=[*SCOPES, *scopes], **claims)


@pytest.fixture(scope="module")
def capital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Capital]:
    settings = Settings(data=tmp_path_factory.mktemp("districts"), time="driven")
    with LocalCity(settings, only=["district_hub", "traffic", "identity"]) as city:
        capital = Capital(city)
        capital.pass_time(0)
        for district in ("xihu", "gongshu"):
            capital.hub.RegisterDistrict(pb.RegisterDistrictRequest(district_id=district, name=f"{district} 区"))
        roads = [
            RoadEdge(edge_id=edge, length_m=10, free_speed_mps=10, district_id=district)
            for edge, district in (("e1", "xihu"), ("e2", "gongshu"))
        ]
        TrafficServiceStub(capital.channel).PublishRoads(traffic.PublishRoadsRequest(edges=roads), timeout=LIMIT_S)
        capital.clock.Rest(RestRequest(), timeout=LIMIT_S)
        yield capital
        capital.channel.close()


@pytest.fixture
def xihu(capital: Capital) -> Iterator[City]:
    with City(capital.gateway, capital.token("xihu")) as city:
        yield city


class Listening:
    """A subscription that is read in a thread."""

    def __init__(self, subscription: Subscription) -> None:
        self.heard: list[Heard] = []
        self.error: BaseException | None = None
        self._subscription = subscription
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for heard in self._subscription:
                self.heard.append(heard)
        except grpc.RpcError as error:
            self.error = error

    def incidents(self) -> list[str]:
        return [one.message.incident_id for one in self.heard if isinstance(one.message, ev.DistrictNotified)]

    def stop(self) -> None:
        self._subscription.close()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def listening(subscription: Subscription) -> Iterator[Listening]:
    reader = Listening(subscription)
    try:
        yield reader
    finally:
        reader.stop()


def refused(work: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    return problem_of(caught.value)


def test_a_district_hears_what_it_is_told_and_after_a_restart_goes_on_where_it_was(
    capital: Capital, xihu: City, tmp_path: Path
) -> None:
    place = tmp_path / "xihu.place"
    incidents = [capital.tell() for _ in range(5)]
    heard: list[str] = []

    def read(count: int) -> None:
        for number, one in enumerate(xihu.subscribe("xihu", types=[ev.DistrictNotified], checkpoint=place), 1):
            assert isinstance(one.message, ev.DistrictNotified) and one.message.district_id == "xihu"
            if number > count:
                # The one that is not dealt with comes again.
                return
            heard.append(one.message.incident_id)

    read(2)
    incidents += [capital.tell() for _ in range(3)]
    read(5)
    with listening(xihu.subscribe("xihu", types=[ev.DistrictNotified], checkpoint=place)) as last:
        until(lambda: len(last.heard) == 1, "the last event")
        capital.tell()
        until(lambda: len(last.heard) == 2, "one more")
    assert [*heard, *last.incidents()][: len(incidents)] == incidents


@pytest.mark.parametrize("break_it", ["cut", "hold", "strand"])
def test_a_hub_that_was_cut_off_for_ten_minutes_catches_up_in_order_and_once(
    capital: Capital, break_it: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A line on which nothing comes back is given up after this time.
    monkeypatch.setattr("citybrain.client.city.KEEPALIVE_S", 1.0)
    begin = datetime.now(UTC)
    with (
        Line(capital.gateway) as line,
        City(line.address, capital.token("xihu")) as city,
        listening(city.subscribe("xihu", begin=begin)) as hub,
    ):
        before = [capital.tell() for _ in range(3)]
        until(lambda: hub.incidents() == before, hub.incidents)
        getattr(line, break_it)()
        away = []
        for _ in range(60):
            capital.pass_time(10)
            away.append(capital.tell())
        line.mend()
        # Less than gRPC itself waits for an answer on a connection that is dead.
        until(lambda: len(hub.incidents()) >= 63, hub.incidents, 30)
        after = capital.tell()
        until(lambda: hub.incidents()[-1] == after, hub.incidents)
    assert hub.incidents() == [*before, *away, after]
    # In the meantime it was reminded, and the city was told that it did not answer.
    kinds = {one.event.type.rpartition(".")[2] for one in hub.heard}
    assert kinds == {"DistrictNotified", "NoticeReminded", "NoticeEscalated"}
    assert len({one.event.id for one in hub.heard}) == len(hub.heard)


def test_a_gateway_that_is_started_anew_costs_a_subscriber_nothing(capital: Capital, xihu: City) -> None:
    with listening(xihu.subscribe("xihu", types=[ev.DistrictNotified], begin=datetime.now(UTC))) as hub:
        incidents = [capital.tell()]
        until(lambda: hub.incidents() == incidents, hub.incidents)
        assert capital.local.gateway is not None
        capital.local.gateway.kill()
        incidents += [capital.tell() for _ in range(20)]
        until(lambda: hub.incidents() == incidents, hub.incidents)


def test_a_day_is_replayed_and_ends_and_goes_on_from_its_checkpoint(capital: Capital, xihu: City) -> None:
    begin = datetime.now(UTC)
    incidents = [capital.tell() for _ in range(4)]
    end = datetime.now(UTC)
    capital.tell()

    class Kept:
        place = Place()

        def load(self) -> Place:
            return self.place

        def save(self, place: Place) -> None:
            self.place = place

    kept = Kept()
    replayed = [
        one.message.incident_id
        for one in xihu.subscribe("xihu", begin=begin, until=end, speed=1000, checkpoint=kept)
        if isinstance(one.message, ev.DistrictNotified)
    ]
    assert replayed == incidents
    assert not list(xihu.subscribe("xihu", begin=begin, until=end, checkpoint=kept))


def test_a_district_chooses_types_of_other_sectors_if_its_token_may_hear_them(capital: Capital, xihu: City) -> None:
    types = [traffic_events.PriorityGranted]
    problem = refused(lambda: list(xihu.subscribe("xihu", types=types, until=datetime.now(UTC))))
    assert problem.code is grpc.StatusCode.PERMISSION_DENIED and "traffic.events" in problem.message
    # Public ones are for everybody.
    (roads,) = xihu.subscribe("xihu", types=[traffic_events.RoadsPublished], until=datetime.now(UTC))
    assert isinstance(roads.message, traffic_events.RoadsPublished) and roads.message.edges[0].edge_id == "e1"
    with City(capital.gateway, capital.token("xihu", "traffic.events")) as may:
        assert not list(may.subscribe("xihu", types=types, until=datetime.now(UTC)))
    unknown = refused(lambda: list(xihu.subscribe("xihu", types=["citybrain.traffic.v1.Nothing"], until=datetime.now(UTC))))
    assert unknown.fields.keys() == {"event_types[0]"} and "/docs/events" in unknown.message


def test_a_token_of_another_district_a_forged_one_or_one_of_other_types_is_refused(capital: Capital, xihu: City) -> None:
    capital.tell()

    def tokens(city: City, district: str, **more: Any) -> str:
        subscription = city.subscribe(district, **more)
        for _ in subscription:
            break
        hub: Any = DistrictHubServiceStub(city.channel)
        stream = hub.Subscribe(pb.SubscribeRequest(district_id=district, event_types=more.get("types", ())))
        found = str(next(stream).resume_token)
        stream.cancel()
        return found

    def resumed(place: str, **more: Any) -> Any:
        hub: Any = DistrictHubServiceStub(xihu.channel)
        return refused(lambda: next(hub.Subscribe(pb.SubscribeRequest(district_id="xihu", resume_token=place, **more))))

    own = tokens(xihu, "xihu")
    with City(capital.gateway, capital.token("gongshu")) as gongshu:
        for bad in (tokens(gongshu, "gongshu"), own[:-2] + ("AA" if own[-2:] != "AA" else "BB"), "forged"):
            problem = resumed(bad)
            assert problem.code is grpc.StatusCode.INVALID_ARGUMENT and problem.fields.keys() == {"resume_token"}
    assert resumed(tokens(xihu, "xihu", types=[NOTIFIED])).fields.keys() == {"resume_token"}
    # Nor may it ask for another district at all.
    assert refused(lambda: list(xihu.subscribe("gongshu"))).reason == "OTHER_DISTRICT"


def test_reports_are_kept_once_however_often_they_are_sent_and_bad_ones_not_at_all(capital: Capital, xihu: City) -> None:
    seen = Timestamp(seconds=START)
    reports = [
        pb.Report(kind="water.level", seen_at=seen, measures=[pb.Measure(name="level", value=n / 10, unit="m")])
        for n in range(250)
    ]
    for _ in range(2):
        assert xihu.send_reports("xihu", "first", reports) == 250
    listed: list[pb.Report] = []
    hub: Any = DistrictHubServiceStub(xihu.channel)
    capital.clock.Rest(RestRequest(), timeout=LIMIT_S)
    page = pb.ListReportsResponse(next_page_token="")
    while not listed or page.next_page_token:
        page = hub.ListReports(pb.ListReportsRequest(district_id="xihu", page_size=100, page_token=page.next_page_token))
        listed += page.reports
    assert sorted(one.measures[0].value for one in listed) == [n / 10 for n in range(250)]
    bad = refused(lambda: xihu.send_reports("xihu", "second", [*reports[:3], pb.Report(kind="Not a kind", seen_at=seen)]))
    assert bad.fields.keys() == {"reports[3].kind"}
    other = refused(lambda: xihu.send_reports("xihu", "first.0", reports[:3]))
    assert other.code is grpc.StatusCode.ALREADY_EXISTS and other.reason == "OTHER_BATCH"
    assert refused(lambda: xihu.send_reports("gongshu", "third", reports[:3])).reason == "OTHER_DISTRICT"
    capital.clock.Rest(RestRequest(), timeout=LIMIT_S)
    assert len(hub.ListReports(pb.ListReportsRequest(district_id="xihu", page_size=500)).reports) == 250


def test_a_district_acknowledges_and_sees_what_it_has_used(capital: Capital, xihu: City) -> None:
    capital.tell()
    hub: Any = DistrictHubServiceStub(xihu.channel)
    capital.clock.Rest(RestRequest(), timeout=LIMIT_S)
    waiting = hub.ListNotices(pb.ListNoticesRequest(district_id="xihu", page_size=500)).notices
    assert waiting and {notice.district_id for notice in waiting} == {"xihu"}
    assert xihu.acknowledge("xihu", waiting[-1].notice_id).incident_id == waiting[-1].incident_id
    capital.clock.Rest(RestRequest(), timeout=LIMIT_S)
    left = hub.ListNotices(pb.ListNoticesRequest(district_id="xihu", page_size=500)).notices
    assert [one.notice_id for one in left] == [one.notice_id for one in waiting[:-1]]
    stub: Any = IdentityServiceStub(xihu.channel)
    used = {one.method_class: one.used for one in stub.GetUsage(identity.GetUsageRequest()).usages}
    assert used["read"] > 0 and used["command"] > 0


def test_a_call_waits_for_a_city_that_is_away_and_is_carried_out_once(capital: Capital) -> None:
    with Line(capital.gateway) as line, City(line.address, capital.token("xihu"), timeout_s=LIMIT_S) as city:
        line.cut()
        mending = threading.Timer(1.0, line.mend)
        mending.start()
        began = time.monotonic()
        report = pb.Report(kind="road.blocked", seen_at=Timestamp(seconds=START))
        assert city.send_reports("xihu", "while-away", [report]) == 1
        assert time.monotonic() - began >= 0.9
        mending.join()


def test_a_token_in_a_file_is_taken_up_when_another_one_is_put_there(capital: Capital, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(capital.token("gongshu") + "\n", encoding="ascii")
    with City(capital.gateway, path) as city:
        assert refused(lambda: list(city.subscribe("xihu", until=datetime.now(UTC)))).reason == "OTHER_DISTRICT"
        path.write_text(capital.token("xihu") + "\n", encoding="ascii")
        assert list(city.subscribe("xihu", types=[NOTIFIED], until=datetime.now(UTC)))
