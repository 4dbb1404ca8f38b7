"""Sources of pollution while the service runs: their life, measures and their undo, and tracing by the call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, NotFound, Refused, Unavailable
from citybrain.mesh.testing import Running, running
from citybrain.services.environment import places, plume
from citybrain.services.environment.service import EnvironmentService
from tests.unit.environment.conftest import moment, now, reading, send, station

SO2 = pb.QUANTITY_SO2
USCC, OTHER = "91330100799655058B", "91330000MA27XYT12R"
MIDDLE = pb.Place(longitude=120.15, latitude=30.25)


def admission(source_id: str = "s1", place: pb.Place = MIDDLE, **more: Any) -> pb.AdmitSourceRequest:
    permit = pb.Permit(
        number=f"P-{source_id}",
        valid_until=moment(2e9),
        pollutants=[pb.PermittedPollutant(quantity=SO2, limit_mg_m3=35, kg_a_year=900)],
    )
    told: dict[str, Any] = {
        "uscc": USCC,
        "firm_name": "某某化工",
        "name": "锅炉",
        "district_id": "xihu",
        "stack_height_m": 30,
        **more,
    }
    return pb.AdmitSourceRequest(source_id=source_id, place=place, permit=permit, **told)


def admit(environment: Running, *where: Any, **more: Any) -> pb.Source:
    source: pb.Source = environment.fire("AdmitSource", admission(*where, **more)).source
    return source


def start(environment: Running, source_id: str = "s1") -> pb.Source:
    source: pb.Source = environment.fire("StartSource", pb.StartSourceRequest(source_id=source_id)).source
    return source


def close(environment: Running, source_id: str = "s1") -> pb.Source:
    source: pb.Source = environment.fire("CloseSource", pb.CloseSourceRequest(source_id=source_id, reason="moved")).source
    return source


def order(environment: Running, key: str, line: str = "line 2", **how: Any) -> Any:
    asked = pb.OrderMeasuresRequest(measures_id=key, source_id="s1", line=line, reason="too much SO2")
    return environment.fire("OrderMeasures", asked, **how).measures


def lift(environment: Running, key: str, **how: Any) -> Any:
    return environment.fire("LiftMeasures", pb.LiftMeasuresRequest(measures_id=key, source_id="s1", reason="over"), **how)


def kinds(environment: Running, *types: type) -> list[str]:
    return [type(event.data).__name__ for event in environment.events(*types)]


# -- life ---------------------------------------------------------------------------------------------------------------------


def test_a_source_is_admitted_works_is_stopped_and_closed(environment: Running) -> None:
    assert list(admit(environment, road_ids=["e1", "e2"]).road_ids) == ["e1", "e2"]
    assert admit(environment).state == pb.SOURCE_STATE_ADMITTED
    assert admit(environment).state == pb.SOURCE_STATE_ADMITTED
    assert start(environment).state == start(environment).state == pb.SOURCE_STATE_OPERATING
    order(environment, "m1")
    shown = environment.fire("GetSource", pb.GetSourceRequest(source_id="s1")).source
    assert (shown.state, list(shown.measures_ids)) == (pb.SOURCE_STATE_STOPPED, ["m1"])
    with pytest.raises(Refused, match="lift m1 first"):
        close(environment)
    lift(environment, "m1")
    assert close(environment).state == close(environment).state == pb.SOURCE_STATE_CLOSED
    with pytest.raises(Refused, match="is closed"):
        start(environment)
    with pytest.raises(Refused, match="is closed"):
        admit(environment, name="锅炉二")
    with pytest.raises(Refused, match="is closed"):
        order(environment, "m2")
    with pytest.raises(NotFound, match="no source s9"):
        start(environment, "s9")
    assert kinds(environment, ev.SourceAdmitted, ev.SourceStarted, ev.SourceClosed) == [
        "SourceAdmitted", "SourceAdmitted", "SourceStarted", "SourceClosed"
    ]  # fmt: skip


def test_a_firm_has_one_id_for_its_number_however_it_is_written_and_no_source_changes_its_firm(environment: Running) -> None:
    one = admit(environment)
    assert admit(environment, "s2", uscc=f" {USCC.lower()}").firm.firm_id == one.firm.firm_id != ""
    assert admit(environment, "s3", uscc=OTHER).firm.firm_id != one.firm.firm_id
    with pytest.raises(AlreadyDifferent, match="of another firm"):
        admit(environment, uscc=OTHER)
    flue = pb.Flue(diameter_m=1.5, speed_m_s=12, temperature_c=120)
    assert not one.HasField("flue") and admit(environment, flue=flue).flue == flue
    with pytest.raises(BadRequest, match=r"flue\.speed_m_s"):
        admit(environment, flue=pb.Flue(diameter_m=1.5, temperature_c=120))
    # Another permit of the same firm is a change, and the source stays in its state.
    start(environment)
    assert admit(environment, name="锅炉二").state == pb.SOURCE_STATE_OPERATING


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"uscc": USCC[:17] + "C"}, "uscc: has a wrong check digit"),
        ({"uscc": "9133"}, "uscc: has 4 signs"),
        ({"place": pb.Place(longitude=116.4, latitude=39.9)}, "place: lies outside the city"),
    ],
)
def test_a_firm_with_a_wrong_number_and_a_place_outside_are_refused_without_repeating_the_number(
    environment: Running, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadRequest, match=told) as caught:
        admit(environment, **wrong)
    assert "9133" not in str(caught.value)


def test_nobody_is_permitted_to_emit_wind(environment: Running) -> None:
    asked = admission()
    for quantity in (pb.QUANTITY_WIND_SPEED, pb.QUANTITY_PH, pb.QUANTITY_DISSOLVED_OXYGEN):
        asked.permit.pollutants[0].quantity = quantity
        with pytest.raises(BadRequest, match=r"permit.pollutants\[0\].quantity: is nothing"):
            environment.fire("AdmitSource", asked)


def test_the_number_of_a_firm_stands_in_no_file_and_only_those_who_may_see_persons_see_it(tmp_path: Any) -> None:
    with running(EnvironmentService, folder=tmp_path) as environment:
        firm_id = admit(environment).firm.firm_id
        environment.rest()
        everything: dict[str, Any] = {"scopes": ["environment.read", "environment.personal"], "clearance": "RESTRICTED"}
        request = pb.GetSourceRequest(source_id="s1")
        assert environment.fire("GetSource", request, **everything).source.firm.uscc == USCC
        shown = environment.fire("GetSource", request, **{**everything, "scopes": ["environment.read"]}).source.firm
        assert (shown.uscc, shown.firm_id, shown.name) == ("", firm_id, "某某化工")
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert firm_id.encode() in kept and USCC.encode() not in kept


def test_sources_are_listed_by_id_in_pages_without_numbers(environment: Running) -> None:
    for name, district in (("s3", "xihu"), ("s1", "gongshu"), ("s2", "xihu")):
        admit(environment, name, district_id=district)
    start(environment, "s2")
    environment.rest()

    def listed(**question: Any) -> list[str]:
        found = environment.fire("ListSources", pb.ListSourcesRequest(**question)).sources
        assert not any(one.firm.uscc for one in found)
        return [one.source_id for one in found]

    assert listed() == ["s1", "s2", "s3"]
    assert listed(district_id="xihu") == ["s2", "s3"]
    assert listed(state=pb.SOURCE_STATE_OPERATING) == ["s2"]
    first = environment.fire("ListSources", pb.ListSourcesRequest(page_size=2))
    assert listed(page_size=2, page_token=first.next_page_token) == ["s3"]
    with pytest.raises(Forbidden):
        environment.fire("GetSource", pb.GetSourceRequest(source_id="s1"), district="xihu")


# -- measures -----------------------------------------------------------------------------------------------------------------


def test_measures_are_ordered_once_and_lifted_once(environment: Running) -> None:
    admit(environment)
    start(environment)
    assert order(environment, "m1") == order(environment, "m1")
    with pytest.raises(AlreadyDifferent, match="with other content"):
        order(environment, "m1", "line 3")
    for _ in range(2):
        assert lift(environment, "m1").measures.lifted
    assert kinds(environment, ev.MeasuresOrdered, ev.MeasuresLifted) == ["MeasuresOrdered", "MeasuresLifted"]
    environment.rest()
    assert environment.fire("ListSources", pb.ListSourcesRequest()).sources[0].state == pb.SOURCE_STATE_OPERATING


def test_an_undo_that_overtakes_its_order_bars_it(environment: Running) -> None:
    admit(environment)
    assert not lift(environment, "m1").HasField("measures")
    with pytest.raises(Refused, match="m1 were lifted") as caught:
        order(environment, "m1")
    assert caught.value.reason == "MEASURES_LIFTED"
    assert environment.fire("GetSource", pb.GetSourceRequest(source_id="s1")).source.state == pb.SOURCE_STATE_ADMITTED


# -- stacks -------------------------------------------------------------------------------------------------------------------


def test_a_stack_is_of_a_source_that_is_known(environment: Running) -> None:
    stack = station("k1", medium=pb.MEDIUM_STACK, quantities=[SO2], source_id="s9")
    with pytest.raises(BadRequest, match=r"station\.source_id: is no source that is known: AdmitSource makes one known"):
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=stack))
    admit(environment, "s9")
    assert environment.fire("RegisterStation", pb.RegisterStationRequest(station=stack)).station == stack


def test_a_stack_exceeds_the_limit_of_its_permit_when_both_its_sensors_say_so(environment: Running) -> None:
    admit(environment)
    stack = station("k1", medium=pb.MEDIUM_STACK, quantities=[SO2], source_id="s1")
    stack.sensors.append(pb.Sensor(sensor_id="so2-b", quantity=SO2, interval_s=60))
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=stack))
    at = now(environment)
    told: dict[str, Any] = {"station_id": "k1", "unit": pb.UNIT_MG_M3}
    assert not send(environment, reading(SO2, 35, at, **told)).exceedance_ids
    send(environment, reading(SO2, 36, at + 60 - 60, sensor_id="so2-b", **told))
    environment.advance(60)
    send(environment, reading(SO2, 40, at + 60, **told))
    environment.advance(5)
    (event,) = environment.events(ev.ExceedanceVerified)
    data: Any = event.data
    assert (data.value, data.limit, data.standard, data.unit) == (40, 35, "permit P-s1", pb.UNIT_MG_M3)


# -- tracing ------------------------------------------------------------------------------------------------------------------

RING = {f"r{n}": (round(900 * math.sin(a)), round(900 * math.cos(a))) for n, a in enumerate(np.radians(range(0, 360, 45)))}


def polluted(environment: Running, east_m: float, north_m: float, speed: float = 3.0, vane: bool = True) -> str:
    """A source at a place gives 400 g/s from 20 m in a western wind for a quarter of an hour; the exceedance."""
    quantities = (SO2, pb.QUANTITY_WIND_SPEED, pb.QUANTITY_WIND_DIRECTION)
    for name, (east, north) in RING.items():
        place = places.at_metres(MIDDLE, east, north)
        one = station(name, place.longitude, place.latitude, quantities=quantities, interval_s=300)
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=one))
    environment.rest()
    for step, origin in enumerate((0, 270, 280, 262)):
        at, batch = now(environment), []
        for name, (east, north) in RING.items():
            there = float(plume.dilution(east - east_m, north - north_m, 20, speed, origin, "B")) if step else 0.0
            batch.append(reading(SO2, round(20 + 400e6 * there, 1), at, name))
            if vane:
                batch += [
                    reading(pb.QUANTITY_WIND_SPEED, speed, at, name), reading(pb.QUANTITY_WIND_DIRECTION, origin, at, name)
                ]  # fmt: skip
        send(environment, *batch)
        environment.advance(300)
        environment.rest()
    environment.advance(65)
    environment.rest()
    return str(environment.events(ev.ExceedanceSuspected)[0].data.exceedance_id)  # type: ignore[attr-defined]


def trace(environment: Running, exceedance_id: str, **how: Any) -> pb.Trace:
    found: pb.Trace = environment.fire("TraceSource", pb.TraceSourceRequest(exceedance_id=exceedance_id), **how).trace
    return found


def test_the_call_finds_the_registered_source_that_did_it_and_keeps_that(environment: Running) -> None:
    guilty, other = places.at_metres(MIDDLE, -500, 60), places.at_metres(MIDDLE, 200, -700)
    firm_id = admit(environment, "guilty", guilty).firm.firm_id
    admit(environment, "other", other, uscc=OTHER)
    admit(environment, "idle", places.at_metres(MIDDLE, -520, 60))
    for name in ("guilty", "other"):
        start(environment, name)
    environment.rest()
    exceedance_id = polluted(environment, -500, 60)
    found = trace(environment, exceedance_id)
    assert [(one.source_id, one.found) for one in found.sources] == [("guilty", True), ("other", False)]
    assert (found.sources[0].firm_id, found.determination) == (firm_id, pb.DETERMINATION_WELL)
    assert found.sources[0].rate_g_s > 50 and not found.HasField("place") and found.statement
    assert found.wind_speed_m_s == pytest.approx(3) and 262 <= found.wind_direction_deg <= 280
    assert {one.station_id for one in found.readings} == set(RING)
    trace(environment, exceedance_id)
    (event,) = environment.events(ev.SourceTraced)
    assert event.data.trace == found and event.stored.correlation_id == exceedance_id  # type: ignore[attr-defined]
    shown = environment.fire("GetExceedance", pb.GetExceedanceRequest(exceedance_id=exceedance_id))
    assert shown.trace == found


def test_the_call_finds_the_place_of_a_source_that_nobody_registered(environment: Running) -> None:
    admit(environment, "other", places.at_metres(MIDDLE, 200, -700))
    start(environment, "other")
    environment.rest()
    found = trace(environment, polluted(environment, -500, 60))
    assert found.HasField("place") and not any(one.found for one in found.sources)
    assert places.apart_m(found.place, places.at_metres(MIDDLE, -500, 60)) < 150
    (other,) = found.sources
    assert (
        other.from_place_m == pytest.approx(math.hypot(700, 760), abs=150)
        and "nearest registered source is other" in found.statement
    )
    assert found.place_rate_g_s > 0 and "no registered stack" in found.statement


def test_of_many_sources_in_a_quarter_the_nearest_are_candidates(environment: Running) -> None:
    # They are in one cell of the map as the one that did it, and by id before it.
    for first in range(0, 600, 50):
        events: list[Any] = []
        for n in range(first, first + 50):
            place = places.at_metres(MIDDLE, -2800 - 2 * n, 60)
            source = pb.Source(source_id=f"a{n:04d}", place=place, district_id="xihu", stack_height_m=30)
            events += [ev.SourceAdmitted(source=source), ev.SourceStarted(source_id=source.source_id)]
        environment.tell(*events)
    admit(environment, "guilty", places.at_metres(MIDDLE, -500, 60))
    start(environment, "guilty")
    environment.rest()
    found = trace(environment, polluted(environment, -500, 60))
    assert (found.sources[0].source_id, found.sources[0].found) == ("guilty", True)


def test_means_of_an_hour_are_not_traced(environment: Running) -> None:
    one = station("slow", MIDDLE.longitude, MIDDLE.latitude, quantities=(SO2,), interval_s=901)
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=one))
    send(environment, reading(SO2, 20, now(environment), "slow"))
    exceedance_id = polluted(environment, -500, 60)
    kept: Any = environment.events(ev.SurroundingsMeasured)[0].data
    assert "slow" in {one.station_id for one in kept.means}
    assert {one.station_id for one in trace(environment, exceedance_id).readings} == set(RING)


@pytest.mark.parametrize(("more", "reason"), [({"speed": 0.9}, "CALM"), ({"vane": False}, "NO_WIND")], ids=["calm", "no vane"])
def test_without_wind_nothing_is_traced_and_the_answer_says_why(
    environment: Running, more: dict[str, Any], reason: str
) -> None:
    exceedance_id = polluted(environment, -500, 60, **more)
    with pytest.raises(Refused) as caught:
        trace(environment, exceedance_id)
    assert caught.value.reason == reason


def test_before_anything_is_kept_the_call_says_when_to_come_again_and_water_is_not_traced(environment: Running) -> None:
    at = now(environment)
    (one,) = send(environment, reading(SO2, 700, at)).exceedance_ids
    environment.rest()
    with pytest.raises(Unavailable, match="in six minutes"):
        trace(environment, one)
    with pytest.raises(NotFound):
        trace(environment, "exc-000000000000")
    with pytest.raises(Forbidden):
        trace(environment, one, district="gongshu")
    river = station("w1", medium=pb.MEDIUM_WATER, quantities=[pb.QUANTITY_COD], water_target=pb.WATER_CLASS_I)
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=river))
    (two,) = send(environment, reading(pb.QUANTITY_COD, 700, at, "w1", unit=pb.UNIT_MG_L)).exceedance_ids
    environment.rest()
    with pytest.raises(Refused, match="only what is in the air"):
        trace(environment, two)
