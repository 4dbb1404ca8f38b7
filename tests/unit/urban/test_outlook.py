"""The indices and the forecasts: explained, incomplete where something is missing, and scored on what they had not seen."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from citybrain.environment.v1 import environment_service_pb2 as env
from citybrain.environment.v1 import events_pb2 as environment
from citybrain.urban.v1 import components_pb2 as parts
from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as field
from citybrain.urban.v1 import hotline_pb2 as hotline
from citybrain.urban.v1 import indices_pb2 as pb
from citybrain.urban.v1 import parking_pb2 as parking
from citybrain.urban.v1 import urban_service_pb2 as orders
from citybrain.urban.v1.hotline_pb2 import RateTicketRequest
from citybrain.urban.v1.places_pb2 import Position
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running
from citybrain.services.urban import hazards, outlook_views, rivers, urban_index
from citybrain.services.urban import predictive_maintenance as maintenance
from tests.unit.urban.conftest import HERE, device, minutes, over, register, report, told
from tests.unit.urban.test_hotline import answer, call
from tests.unit.urban.test_orders import component, seen

# -- indices ----------------------------------------------------------------------------------------------------------------


def test_a_part_gets_points_between_its_worst_and_its_best_in_either_direction() -> None:
    assert [urban_index.points(value, 0.5, 1.0) for value in (0.4, 0.5, 0.75, 1.0, 1.2)] == [0, 0, 50, 100, 100]
    assert [urban_index.points(value, 0.3, 0.0) for value in (0.3, 0.15, 0.0)] == pytest.approx([0, 50, 100])


def test_a_missing_part_is_said_and_never_taken_for_zero() -> None:
    measured = {"team_image": {"mean rating of answers": (5.0, 10)}}
    composite, *five = urban_index.indices(measured)
    image = next(one for one in five if one.name == "team_image")
    assert (image.points, image.known) == (100, 0.6)
    assert image.parts[1].points is None
    assert composite.points == 100
    assert composite.known == pytest.approx(0.2 * 0.6)
    assert [one.points for one in five if one.name != "team_image"] == [None] * 4
    assert urban_index.indices({})[0].points is None


def test_the_composite_is_the_weighted_mean_of_the_five() -> None:
    measured = {
        name: {part: ((rule.best if n % 2 else rule.worst), 1) for n, (part, rule) in enumerate(rules.items())}
        for name, rules in urban_index.RULES.items()
    }
    composite, *five = urban_index.indices(measured)
    assert composite.known == pytest.approx(1)
    assert composite.points == pytest.approx(sum(urban_index.WEIGHTS[one.name] * (one.points or 0) for one in five))
    assert [one.points for one in five] == pytest.approx([40, 40, 50, 40, 40])


def test_the_weights_of_each_index_are_one_together() -> None:
    assert sum(urban_index.WEIGHTS.values()) == pytest.approx(1)
    assert all(sum(rule.weight for rule in rules.values()) == pytest.approx(1) for rules in urban_index.RULES.values())


def indices(urban: Running, district_id: str = "xihu") -> dict[str, pb.UrbanIndex]:
    answered = urban.fire("GetIndices", pb.GetIndicesRequest(district_id=district_id))
    return {one.name: one for one in answered.indices}


def test_indices_follow_from_what_happened_and_are_published_each_day(urban: Running) -> None:
    register(urban, device(), device("d2", "bin_fill", baseline=None, alarm_from=90, alarm_until=80))
    component(urban)
    one = call(urban, "噪音扰民").ticket.ticket_id
    answer(urban, one)
    urban.fire("RateTicket", RateTicketRequest(ticket_id=one, stars=4))
    urban.rest()
    found = indices(urban)
    assert next(iter(found)) == "composite"
    assert found["equipment"].points == 100
    assert found["street_order"].points == 100
    assert found["team_image"].parts[0].value == 4
    assert found["public_parking"].missing
    assert 0 < found["composite"].known < 1
    minutes(urban, *[95] * 3, device_id="d2")
    seen(urban, parts.COMPONENT_STATE_LOST)
    over(urban)
    found = indices(urban)
    assert found["equipment"].points == 0
    assert found["cleanliness"].parts[1].value == 0
    urban.advance(86_400)
    urban.rest()
    published = {one.district_id: one for one in told(urban, ev.IndicesPublished)}
    assert set(published) == {"xihu"}
    assert (len(published["xihu"].indices), published["xihu"].version) == (6, "urban-index-2")
    urban.advance(31 * 86_400)
    urban.rest()
    assert indices(urban)["street_order"].missing


def test_a_device_from_which_nothing_comes_makes_no_index_better(urban: Running) -> None:
    bins = [device(f"b{n}", "bin_fill", baseline=None, alarm_from=90, alarm_until=80) for n in range(2)]
    register(urban, device(), device("d2"), *bins)
    for hour in range(25):
        urban.advance(3600)
        for one in ("d2", "b1"):
            report(urban, 50, one)
        if hour == 20:
            assert [one.device_id for one in told(urban, ev.DeviceFellSilent)] == ["d1"], "bins may report once a day"
    over(urban)
    assert {one.device_id for one in told(urban, ev.DeviceFellSilent)} == {"d1", "b0"}
    found = indices(urban)
    assert (found["equipment"].parts[0].value, found["equipment"].parts[0].cases) == (0.5, 4)
    assert (found["cleanliness"].parts[1].value, found["cleanliness"].parts[1].cases) == (1, 1)
    urban.advance(25 * 3600)
    urban.rest()
    assert indices(urban)["cleanliness"].parts[1].missing


def lot(district_id: str = "xihu") -> parking.RegisterParkingRequest:
    price = parking.ParkingPrice(unit_minutes=30)
    return parking.RegisterParkingRequest(lot_id="p1", name="x", bays=10, price=price, position=HERE, district_id=district_id)


def test_a_lot_of_which_nobody_reports_is_not_taken_for_empty(urban: Running) -> None:
    assert not urban.fire("RegisterParking", lot()).lot.HasField("reported_at")
    urban.rest()
    assert indices(urban)["public_parking"].missing
    counted = urban.fire("CountParked", parking.CountParkedRequest(lot_id="p1", occupied=0))
    assert counted.lot.HasField("reported_at")
    urban.rest()
    assert indices(urban)["public_parking"].parts[0].value == 1
    urban.advance(24 * 3600 - 1)
    urban.fire("CountParked", parking.CountParkedRequest(lot_id="p1", occupied=0))
    urban.advance(2)
    urban.rest()
    assert not indices(urban)["public_parking"].missing
    urban.advance(24 * 3600)
    assert indices(urban)["public_parking"].missing


def test_days_are_those_of_hangzhou_and_a_district_is_published_by_its_id(urban: Running) -> None:
    one = call(urban, "噪音扰民", district_id="xi.hu").ticket.ticket_id
    answer(urban, one)
    urban.rest()
    found = urban.fire("GetIndices", pb.GetIndicesRequest(district_id="xi.hu"))
    assert (getattr(found, "from").seconds + 8 * 3600) % 86_400 == 0
    urban.advance(86_400)
    urban.rest()
    assert {one.district_id for one in told(urban, ev.IndicesPublished)} == {"xi.hu"}
    evening = 16 * 3600 * 1_000_000
    assert [outlook_views.day_of(evening - 1), outlook_views.day_of(evening)] == [0, 1]


# -- which device fails next ------------------------------------------------------------------------------------------------


def fleet(seed: int, frail: float) -> dict[str, maintenance.History]:
    """200 devices over 400 days; one in ten fails `frail` times as often as the others."""
    by = random.Random(seed)
    found = {}
    for n in range(200):
        rate = 0.004 * (frail if n % 10 == 0 else 1)
        failures, now = list[float](), 0.0
        while (now := now + by.expovariate(rate)) < 400:
            failures.append(now)
        found[f"d{n}"] = maintenance.History("bridge_strain", 0, failures)
    return found


def test_devices_that_fail_often_are_named_and_the_score_says_by_how_much_that_is_better() -> None:
    score = maintenance.score(fleet(1, 12))
    assert score.better
    assert score.bits > 0.3
    assert score.in_first_tenth > 0.3
    rates = maintenance.rates(fleet(1, 12), 400)
    first = sorted(rates, key=lambda name: -rates[name])[:20]
    assert sum(int(name[1:]) % 10 == 0 for name in first) >= 17


def test_where_all_fail_alike_the_score_says_that_nothing_is_known() -> None:
    bits = [maintenance.score(fleet(seed, 1)).bits for seed in range(8)]
    assert sum(bits) / len(bits) < 0.05


def test_the_score_is_of_failures_that_the_forecast_had_not_seen() -> None:
    """Devices that failed early and never again, and others the other way round: looking back would seem perfect."""
    devices = {f"a{n}": maintenance.History("k", 0, [float(day) for day in range(10, 110, 10)]) for n in range(10)}
    devices |= {f"b{n}": maintenance.History("k", 0, [300.0, 310.0, 320.0]) for n in range(10)}
    assert maintenance.score(devices).bits < 0
    assert not maintenance.score(devices).better


def test_few_failures_are_no_forecast_and_a_young_device_is_taken_for_its_kind() -> None:
    few = {"a": maintenance.History("k", 0, [1.0, 2.0])}
    assert maintenance.score(few).tried == 0
    devices = fleet(2, 1) | {"new": maintenance.History("bridge_strain", 399, [])}
    rates = maintenance.rates(devices, 400)
    assert rates["new"] == pytest.approx(sum(rates.values()) / len(rates), rel=0.2)


def test_the_forecast_of_a_morning_is_published_with_its_score(urban: Running) -> None:
    register(urban, *[device(f"d{n}") for n in range(12)])
    urban.fire("forecast_failures")
    urban.rest()
    answered = urban.fire("ForecastFailures", pb.ForecastFailuresRequest())
    assert (answered.score.better, answered.score.tried, len(answered.devices)) == (False, 0, 0)
    begin = urban.advance() // 1_000_000
    for day in range(24):
        for name in ("d0", "d1") if day % 3 else ("d0",):
            anomaly = dev.Anomaly(anomaly_id=f"{name}-{day}", device_id=name, found_at=Timestamp(seconds=begin + day * 3600))
            urban.tell(ev.AnomalyFound(anomaly=anomaly, device_id=name, district_id="xihu"))
    urban.tell(ev.AnomalyRetracted(anomaly_id="d1-1", device_id="d1", district_id="xihu"))
    urban.tell(ev.DeviceFellSilent(device_id="d5", kind="bridge_strain", district_id="xihu", told_at=Timestamp(seconds=begin)))
    urban.rest()
    urban.advance(2 * 86_400)
    urban.rest()
    answered = urban.fire("ForecastFailures", pb.ForecastFailuresRequest(page_size=3))
    assert answered.score.better
    assert [one.device_id for one in answered.devices][:2] == ["d0", "d1"]
    assert [one.failures for one in answered.devices] == [24, 15, 1]
    assert answered.devices[0].next > answered.devices[1].next > answered.devices[2].next
    rest = urban.fire("ForecastFailures", pb.ForecastFailuresRequest(page_size=3, page_token=answered.next_page_token))
    assert len(rest.devices) == 3


# -- what comes again -------------------------------------------------------------------------------------------------------


def test_a_place_is_named_when_it_came_more_than_once_not_long_ago() -> None:
    assert hazards.weight([100.0], 100) == 1 < hazards.LEAST
    assert hazards.weight([95.0, 100.0], 100) > hazards.LEAST
    assert hazards.weight([0.0, 10.0], 100) < hazards.LEAST
    assert hazards.weight([101.0], 100) == 0


def test_the_hit_rate_is_of_the_last_thirty_days_and_beside_it_stands_chance() -> None:
    places = {
        "again": [10.0, 40.0, 60.0, 90.0],
        "over": [55.0, 60.0],
        "once": [60.0],
        "new": [95.0],
        "late": [20.0, 80.0],
    }
    rate = hazards.rate(places, 100)
    assert (rate.tried, rate.hit, rate.base) == (2, 0.5, 0.5)
    assert hazards.rate({}, 100) == hazards.Rate(0, 0, 0)


def test_places_of_a_morning_are_listed_and_the_first_get_one_work_order_in_thirty_days(urban: Running) -> None:
    for days in (0, 10, 40):
        urban.advance(days * 86_400)
        urban.rest()
        answer(urban, call(urban, "井盖丢了").ticket.ticket_id)
        urban.rest()
    call(urban, "路灯不亮", 5000)
    urban.rest()
    urban.advance(86_400)
    urban.rest()
    answered = urban.fire("ListHazards", pb.ListHazardsRequest(district_id="xihu"))
    assert [(one.kind, one.tickets) for one in answered.hazards] == [("manhole", 3)]
    assert (answered.tried, answered.hit_rate, answered.base_rate) == (1, 1, 1)
    assert not urban.fire("ListHazards", pb.ListHazardsRequest(district_id="gongshu")).hazards
    orders_now = len([one for one in told(urban, ev.WorkOrderOpened) if one.kind == "hazard"])
    assert orders_now > 0
    urban.advance(2 * 86_400)
    urban.rest()
    assert len([one for one in told(urban, ev.WorkOrderOpened) if one.kind == "hazard"]) == orders_now


def test_what_a_person_has_sorted_otherwise_comes_again_as_that_and_what_nobody_has_sorted_not_at_all(urban: Running) -> None:
    for _ in range(3):
        one = call(urban, "你好").ticket.ticket_id
        urban.fire("RerouteTicket", hotline.RerouteTicketRequest(ticket_id=one, kind="manhole", reason="a cover"))
        answer(urban, one)
        answer(urban, call(urban, "你好").ticket.ticket_id)
        urban.rest()
    urban.advance(86_400)
    urban.rest()
    found = urban.fire("ListHazards", pb.ListHazardsRequest()).hazards
    assert [(one.kind, one.tickets, one.district_id) for one in found] == [("manhole", 3, "xihu")]


def test_a_cell_keeps_its_newest_tickets() -> None:
    row = None
    for n in range(outlook_views.OF_A_CELL + 5):
        opened = ev.TicketOpened(ticket_id=f"t{n}", kind="noise", position=HERE, opened_at=Timestamp(seconds=n))
        row = outlook_views.hazard(row, SimpleNamespace(data=opened))  # type: ignore[arg-type]
    assert row is not None
    row = outlook_views.hazard(row, SimpleNamespace(data=ev.TicketRerouted(ticket_id="t0", kind="dog", position=HERE)))  # type: ignore[arg-type]
    assert row is not None
    assert (len(row.times), "t4" in row.times, "t5" in row.times) == (outlook_views.OF_A_CELL, False, True)


def test_a_river_whose_station_belongs_to_another_district_is_clean_where_it_was_polluted() -> None:
    state = rivers.River()
    told = list[ev.RiverSeen | ev.RiverPolluted | ev.RiverClean]()
    for hour, water_class in enumerate((5, 5, 4, 4, 4), 100):
        for event in rivers.see(state, "r", "xihu" if hour < 102 else "gongshu", hour * rivers.HOUR, water_class, "wo-1"):
            state = rivers.evolve(state, event)
            told.append(event)  # type: ignore[arg-type]
    assert [one.district_id for one in told if isinstance(one, ev.RiverPolluted | ev.RiverClean)] == ["xihu", "xihu"]


# -- other sectors ----------------------------------------------------------------------------------------------------------


def test_a_station_that_wants_maintenance_gets_one_work_order(urban: Running) -> None:
    asked = environment.MaintenanceAsked(
        station_id="s1", sensor_id="pm25", district_id="xihu", place=env.Place(longitude=120.1, latitude=30.2),
        reason="it reads alone above the limit", maintenance_id="m-1",
    )  # fmt: skip
    for _ in range(2):
        urban.tell(asked)
        urban.rest()
    (order,) = told(urban, ev.WorkOrderOpened)
    assert (order.kind, order.subject_id, order.asked_by) == ("maintenance", "s1/pm25", "environment")
    assert order.position == Position(latitude=30.2, longitude=120.1)


def water(urban: Running, hour: int, water_class: int) -> None:
    made = environment.WaterQualityPublished(station_id="r1", district_id="xihu")
    made.water_quality.water_class = water_class  # type: ignore[assignment]
    getattr(made, "from").seconds = hour * 3600
    urban.tell(made)
    urban.rest()


def test_a_river_of_class_v_for_two_hours_is_looked_after_until_it_is_clean_for_three(urban: Running) -> None:
    for hour, water_class in enumerate((5, 4, 5, 6, 6), 1000):
        water(urban, hour, water_class)
    (polluted,) = told(urban, ev.RiverPolluted)
    assert (polluted.since.seconds, polluted.water_class) == (1002 * 3600, 6)
    (order,) = told(urban, ev.WorkOrderOpened)
    assert (order.kind, order.order_id) == ("river", polluted.order_id)
    (shown,) = urban.fire("ListPollutedRivers", field.ListPollutedRiversRequest(district_id="xihu")).rivers
    assert (shown.station_id, shown.since, shown.water_class) == ("r1", polluted.since, 6)
    assert not urban.fire("ListPollutedRivers", field.ListPollutedRiversRequest(district_id="gongshu")).rivers
    for hour, water_class in enumerate((4, 3, 5, 4, 4), 1005):
        water(urban, hour, water_class)
    assert told(urban, ev.RiverClean) == []
    water(urban, 1010, 4)
    assert len(told(urban, ev.RiverClean)) == 1
    assert not urban.fire("ListPollutedRivers", field.ListPollutedRiversRequest()).rivers


def test_a_class_that_holds_no_more_retracts_what_rested_on_it(urban: Running) -> None:
    for hour in (1000, 1001):
        water(urban, hour, 5)
    gone = environment.WaterQualityRetracted(station_id="r1", district_id="xihu")
    getattr(gone, "from").seconds = 1001 * 3600
    urban.tell(gone)
    urban.rest()
    (retracted,) = told(urban, ev.RiverPollutionRetracted)
    order = urban.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=retracted.order_id)).order
    assert order.state == orders.ORDER_STATE_VOID
    water(urban, 1001, 6)
    assert len(told(urban, ev.RiverPolluted)) == 2


def test_an_hour_that_comes_late_counts_in_its_place() -> None:
    state = rivers.River()
    for hour, water_class in ((10, 5), (12, 5), (11, 5)):
        events = rivers.see(state, "r", "xihu", hour * rivers.HOUR, water_class, "wo-1")
        for event in events:
            state = rivers.evolve(state, event)
    assert state.polluted_since == 10 * rivers.HOUR
    assert rivers.see(state, "r", "xihu", 11 * rivers.HOUR, 5, "wo-2") == []
    assert timestamp(state.polluted_since).seconds == 36_000


def test_a_river_that_is_polluted_for_days_is_so_until_it_is_clean() -> None:
    state, told = rivers.River(), list[object]()
    for hour in range(100, 200):
        for event in rivers.see(state, "r", "xihu", hour * rivers.HOUR, 5, "wo-1"):
            state = rivers.evolve(state, event)
            told.append(event)
    assert [type(one) for one in told if not isinstance(one, ev.RiverSeen)] == [ev.RiverPolluted]
    assert len(state.hours) <= rivers.KEPT + rivers.BAD_HOURS, "what it rests on is kept, and of the others the newest"
    retracted = [rivers.see(state, "r", "xihu", hour * rivers.HOUR, 0, "wo-1")[-1] for hour in (100, 101)]
    assert [type(one) for one in retracted] == [ev.RiverPollutionRetracted] * 2


def test_a_river_that_is_polluted_again_after_a_retraction_gets_a_work_order_that_is_open(urban: Running) -> None:
    for hour in (1000, 1001):
        water(urban, hour, 5)
    gone = environment.WaterQualityRetracted(station_id="r1", district_id="xihu")
    getattr(gone, "from").seconds = 1001 * 3600
    urban.tell(gone)
    urban.rest()
    water(urban, 1001, 6)
    first, second = told(urban, ev.RiverPolluted)
    states = [
        urban.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=one.order_id)).order.state for one in (first, second)
    ]
    assert states == [orders.ORDER_STATE_VOID, orders.ORDER_STATE_WAITING]
