"""How full a drainage network will be, by SWMM, and what is told of it."""

from __future__ import annotations

import pytest
from citybrain.urban.v1 import drainage_pb2 as pb
from citybrain.urban.v1 import events_pb2 as ev

from citybrain.mesh.errors import BadRequest, NotFound
from citybrain.mesh.testing import Running
from citybrain.services.urban import drainage, outlook
from citybrain.services.urban.drainage import Filled
from tests.unit.urban.conftest import device, minutes, over, register, report, told

INP = """[TITLE]
Two streets that drain into one sewer

[OPTIONS]
FLOW_UNITS LPS
INFILTRATION HORTON
FLOW_ROUTING DYNWAVE
START_DATE 01/01/2026
START_TIME 00:00:00
END_DATE 01/01/2026
END_TIME 06:00:00
REPORT_STEP 00:01:00
WET_STEP 00:01:00
DRY_STEP 00:05:00
ROUTING_STEP 5

[RAINGAGES]
G1 INTENSITY 0:05 1.0 TIMESERIES NONE

[SUBCATCHMENTS]
S1 G1 J1 4 80 150 0.5 0
S2 G1 J2 4 80 150 0.5 0

[SUBAREAS]
S1 0.013 0.1 1.5 5 25 OUTLET
S2 0.013 0.1 1.5 5 25 OUTLET

[INFILTRATION]
S1 75 10 4 7 0
S2 75 10 4 7 0

[JUNCTIONS]
J1 3.0 2.0 0 0 0
J2 2.5 2.0 0 0 0

[OUTFALLS]
O1 2.0 FREE NO

[CONDUITS]
C1 J1 J2 200 0.013 0 0
C2 J2 O1 200 0.013 0 0

[XSECTIONS]
C1 CIRCULAR 0.6 0 0 0
C2 CIRCULAR 0.7 0 0 0

[TIMESERIES]
NONE 0:00 0
NONE 6:00 0
"""


def most(rain: float, minutes: int = 120) -> dict[str, Filled]:
    return {one.node: one for one in drainage.forecast(INP, [rain] * minutes, rain)}


def test_a_network_is_read_and_without_rain_it_is_dry() -> None:
    assert drainage.size(INP) == drainage.Size(2, 2, 1)
    assert [one.most_full for one in drainage.forecast(INP, [0.0] * 30, 0)] == [0, 0]


def test_a_heavier_rain_fills_more_and_a_cloudburst_floods_the_street() -> None:
    light, strong, burst = most(5), most(20), most(60)
    assert 0 < light["J2"].most_full < strong["J2"].most_full < 0.5
    assert (burst["J1"].most_full, burst["J1"].full) == pytest.approx((1, 1))
    assert burst["J1"].flooding_lps > 100


def test_in_a_steady_rain_what_leaves_is_what_falls() -> None:
    """8 ha, 80 % of them sealed: 10 mm/h are 178 l/s from the sealed part. By Manning a pipe of 0.7 m at 0.25 % then stands
    as high."""
    full = most(10)["J2"].full * 2.0
    assert 0.2 < full < 0.5


def test_what_falls_now_is_there_only_later() -> None:
    early = {one.node: one for one in drainage.forecast(INP, [30.0], 30, 2)}
    late = {one.node: one for one in drainage.forecast(INP, [30.0], 30, 60)}
    assert early["J2"].most_full < 0.5 * late["J2"].most_full


def test_a_model_in_feet_and_inches_gets_the_same_rain() -> None:
    inches = INP.replace("FLOW_UNITS LPS", "FLOW_UNITS CFS").replace("G1 J1 4 80 150", "G1 J1 9.884 80 492.1")
    inches = inches.replace("G1 J2 4 80 150", "G1 J2 9.884 80 492.1").replace("1.5 5 25", "0.059 0.197 25")
    inches = inches.replace("S1 75 10", "S1 2.953 0.394").replace("S2 75 10", "S2 2.953 0.394")
    inches = (
        inches.replace("J1 3.0 2.0", "J1 9.843 6.562").replace("J2 2.5 2.0", "J2 8.202 6.562").replace("O1 2.0", "O1 6.562")
    )
    inches = (
        inches.replace("200 0.013", "656.2 0.013")
        .replace("CIRCULAR 0.6", "CIRCULAR 1.969")
        .replace("CIRCULAR 0.7", "CIRCULAR 2.297")
    )
    metres, feet = most(20), {one.node: one for one in drainage.forecast(inches, [20.0] * 120, 20)}
    assert feet["J2"].most_full == pytest.approx(metres["J2"].most_full, rel=0.03)


@pytest.mark.parametrize(
    "inp", ["no network", INP.replace("C2 J2 O1", "C2 J2 O9"), INP.replace("G1 INTENSITY", ";G1 INTENSITY")]
)
def test_what_swmm_cannot_read_is_refused_with_its_words(inp: str) -> None:
    with pytest.raises(drainage.Unreadable, match=r"\w+"):
        drainage.size(inp)


def test_a_level_is_left_only_when_it_is_ten_per_cent_less_full() -> None:
    def at(share: float) -> list[Filled]:
        return [Filled("a", share, share, 0)]

    assert [outlook.level(0, at(share)) for share in (0.79, 0.8, 1.0)] == [0, 80, 100]
    assert [outlook.level(100, at(share)) for share in (0.9, 0.89, 0.69)] == [100, 80, 0]
    assert outlook.level(80, []) == 0


def registered(urban: Running, inp: str = INP) -> pb.RegisterDrainageResponse:
    answer: pb.RegisterDrainageResponse = urban.fire(
        "RegisterDrainage", pb.RegisterDrainageRequest(network_id="west", inp=inp, district_id="xihu")
    )
    return answer


def test_a_cloudburst_is_told_before_the_street_is_flooded_and_pumps_are_sent(urban: Running) -> None:
    assert registered(urban).gauges == 1
    register(urban, device("rain-1", "rain", baseline=None, network_id="west"))
    minutes(urban, *[0] * 10, device_id="rain-1")
    over(urban)
    assert told(urban, ev.DrainageOutlookChanged) == []
    minutes(urban, *[60] * 20, device_id="rain-1")
    over(urban)
    full = told(urban, ev.DrainageOutlookChanged)[-1]
    assert urban.fire("GetDrainage", pb.GetDrainageRequest(network_id="west")).outlook == full.outlook
    assert (full.outlook.level, full.version) == (100, "urban-drainage-1")
    assert full.outlook.nodes[0].most_full == 1
    assert 0 < full.outlook.reported_min <= full.outlook.of_min
    (order,) = told(urban, ev.WorkOrderOpened)
    assert (order.kind, order.subject_id) == ("drainage", "west")
    minutes(urban, *[0] * 130, device_id="rain-1")
    over(urban)
    assert told(urban, ev.DrainageOutlookChanged)[-1].outlook.level == 0
    assert len(told(urban, ev.WorkOrderOpened)) == 1


def test_a_forecast_can_be_asked_for(urban: Running) -> None:
    with pytest.raises(NotFound):
        urban.fire("ForecastDrainage", pb.ForecastDrainageRequest(network_id="west", rain_mm_h=[1]))
    registered(urban)
    asked = pb.ForecastDrainageRequest(network_id="west", rain_mm_h=[20.0] * 60)
    answer = urban.fire("ForecastDrainage", asked)
    assert answer.ahead_mm_h == 20
    asked.ahead_mm_h = 60
    assert urban.fire("ForecastDrainage", asked).nodes[0].most_full > answer.nodes[0].most_full


def test_a_text_that_is_no_network_is_refused(urban: Running) -> None:
    with pytest.raises(BadRequest, match="inp: SWMM cannot read it"):
        registered(urban, "no network")
    with pytest.raises(BadRequest, match="inp"):
        registered(urban, INP + " " * 200_000)


def test_what_nobody_has_measured_makes_no_network_emptier() -> None:
    state = outlook.Network(ev.DrainageRegistered(network_id="west", district_id="xihu"), level=100)
    empty = [Filled("a", 0.1, 0.1, 0)]
    assert outlook.look(state, empty, 89, 0, 1) == []
    (left,) = outlook.look(state, empty, 90, 0, 1)
    assert isinstance(left, ev.DrainageOutlookChanged)
    assert (left.outlook.level, left.outlook.reported_min, left.outlook.of_min) == (0, 90, 120)
    (fuller,) = outlook.look(outlook.Network(state.registered), [Filled("a", 1, 1, 5)], 1, 60, 1)
    assert isinstance(fuller, ev.DrainageOutlookChanged)


@pytest.mark.tells("field network")
def test_a_network_that_cannot_be_computed_keeps_nothing_else_from_being_told(
    urban: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_what: object) -> list[Filled]:
        raise drainage.Unreadable("ERROR 317")

    monkeypatch.setattr(drainage, "forecast", fails)
    registered(urban)
    register(urban, device(), device("rain-1", "rain", baseline=None, network_id="west"))
    for _ in range(8):
        minutes(urban, 60, device_id="rain-1")
        report(urban, 90)
    over(urban)
    assert len(told(urban, ev.AnomalyFound)) == 1
