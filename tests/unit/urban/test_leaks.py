"""A leak in Net3 while the service runs: found, located, isolated, customers told, restored; and retracted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import urban_service_pb2 as orders
from citybrain.urban.v1 import water_pb2 as pb

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.urban import leaks, water_network
from citybrain.services.urban.service import UrbanService
from citybrain.simulation.pipes import Leak, Pipes, net3
from tests.unit.urban.conftest import device, register, told
from tests.unit.urban.test_water_network import INP, SENSORS

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
"""When the model begins."""


@pytest.fixture
def water() -> Iterator[Running]:
    """The service, which knows Net3 and its sensors from its beginning on."""
    with running(UrbanService, city_time=BEGIN) as service:
        now = service.advance()
        request = pb.RegisterWaterNetworkRequest(
            network_id="net3", inp=INP, starts_at=timestamp(now), district_id="xihu",
            districts=[pb.NetworkDistrict(district_id="gongshu", node_ids=["203", "207", "213"])],
        )  # fmt: skip
        answer = service.fire("RegisterWaterNetwork", request)
        assert (answer.junctions, answer.pipes, answer.valves, len(answer.remarks)) == (92, 117, 234, 1)
        register(
            service,
            *[device(f"p-{node}", "water_pressure", baseline=None, network_id="net3", node_id=node) for node in SENSORS],
        )
        yield service


def play(
    water: Running, hours: int, leak: Leak | None = None, *, seed: int = 7, lie: str = "", by: float = 3.0,
    since: int = 3600, until: int = 10**9, after: int = 0,
) -> None:  # fmt: skip
    """Reports the pressures from an hour of the model to another. `lie`: a sensor that is wrong by so much since a second."""
    begin = int(BEGIN.timestamp() * 1e6)
    for second, shown in Pipes(SENSORS, hours, seed, leak).steps():
        if second <= after * 3600:
            continue
        water.advance(to=BEGIN + timedelta(seconds=second))
        at = timestamp(begin + second * 1_000_000)
        wrong = {lie: by} if since < second <= until else {}
        batch = [
            dev.DeviceReading(device_id=f"p-{node}", observed_at=at, value=metres + wrong.get(node, 0))
            for node, metres in shown.items()
        ]
        assert water.fire("ReportReadings", dev.ReportReadingsRequest(readings=batch)).refused == 0
    water.advance(300)
    water.rest()


def test_a_burst_is_found_isolated_and_told_and_its_work_order_is_done_when_water_flows(water: Running) -> None:
    play(water, 8, Leak("145", 5 * 3600 + 100, 90))
    (found,) = told(water, ev.LeakFound)
    leak = found.leak
    assert leak.found_at.seconds - BEGIN.timestamp() - 5 * 3600 <= 2 * 900 + 60
    assert "145" in [one.pipe_id for one in leak.candidates]
    assert (leak.missing_sensors, leak.version) == (0, "urban-water-2")
    assert leak.statistic > leak.limit == pytest.approx(water_network.quantile(len(SENSORS), water_network.RISK))
    (located,) = told(water, ev.LeakLocated)
    assert "145" in [one.pipe_id for one in located.candidates]
    planned = told(water, ev.IsolationPlanned)[-1]
    assert "145" in planned.isolation.pipe_ids
    assert planned.isolation.valves_assumed
    # In the end these valves take the water from nobody; whoever was told before is told that it stays.
    assert not planned.isolation.customer_node_ids
    assert [one.water_off for one in told(water, ev.CustomersTold)][:1] == [True]
    assert not told(water, ev.CustomersTold)[-1].water_off
    (order,) = told(water, ev.WorkOrderOpened)
    assert (order.kind, order.subject_id, order.order_id) == ("water", leak.leak_id, leak.order_id)
    some = pb.ReportIsolatedRequest(leak_id=leak.leak_id, closed=planned.isolation.valves[1:])
    with pytest.raises(BadRequest, match="lacks"):
        water.fire("ReportIsolated", some)
    request = pb.ReportIsolatedRequest(leak_id=leak.leak_id, closed=planned.isolation.valves)
    assert water.fire("ReportIsolated", request).leak.state == pb.LEAK_STATE_ISOLATED
    water.fire("ReportRestored", pb.ReportRestoredRequest(leak_id=leak.leak_id, outcome="a sleeve"))
    assert [one.water_off for one in told(water, ev.CustomersTold)][:1] == [True]
    assert not told(water, ev.CustomersTold)[-1].water_off
    done = water.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=leak.order_id)).order
    assert (done.state, done.outcome) == (orders.ORDER_STATE_DONE, "a sleeve")
    with pytest.raises(Refused, match="restored"):
        water.fire("ReportIsolated", request)
    water.rest()
    assert [one.leak_id for one in water.fire("ListLeaks", pb.ListLeaksRequest(network_id="net3")).leaks] == [leak.leak_id]


def test_a_quiet_day_raises_nothing(water: Running) -> None:
    play(water, 24)
    assert told(water, ev.LeakFound, ev.AnomalyFound, ev.WorkOrderOpened, ev.CustomersTold) == []


def test_a_sensor_that_lies_is_an_anomaly_and_no_leak_and_a_leak_is_still_found(water: Running) -> None:
    play(water, 8, Leak("223", 6 * 3600, 90), lie="121")
    (wrong,) = told(water, ev.AnomalyFound)
    assert (wrong.device_id, wrong.anomaly.chart.rule) == ("p-121", "MODEL")
    assert [one.mean - one.expected for one in wrong.anomaly.evidence] == pytest.approx([3] * 3, abs=0.5)
    (found,) = told(water, ev.LeakFound)
    assert found.leak.missing_sensors == 1
    assert "223" in [one.pipe_id for one in found.leak.candidates]


def test_a_leak_is_retracted_when_corrected_pressures_do_not_show_it(water: Running) -> None:
    play(water, 6, Leak("145", 5 * 3600, 90))
    (found,) = told(water, ev.LeakFound)
    water.rest()
    answers = []
    for one in found.leak.steps[-1].residuals:
        request = correction(found.leak, one.device_id)
        answers.append(water.fire("CorrectReadings", request))
        if len(answers) == 1:
            # One sensor alone does not undo it, and its readings count as they were corrected.
            with pytest.raises(BadRequest, match=r"corrections\[0\].reported"):
                water.fire("CorrectReadings", request)
        if answers[-1].retracted_ids:
            break
    assert list(answers[0].standing_ids) == [found.leak_id]
    assert list(answers[-1].retracted_ids) == [found.leak_id]
    assert len(told(water, ev.LeakUpheld)) == len(answers) - 1 > 0
    order = water.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=found.leak.order_id)).order
    assert order.state == orders.ORDER_STATE_VOID
    assert [one.water_off for one in told(water, ev.CustomersTold)][:1] == [True]
    assert not told(water, ev.CustomersTold)[-1].water_off


def correction(leak: pb.Leak, device_id: str) -> dev.CorrectReadingsRequest:
    """What a sensor should have shown: what the model expected."""
    corrections = [
        pb_correction(step.start, each.measured, each.measured - each.metres)
        for step in leak.steps
        for each in step.residuals
        if each.device_id == device_id
    ]
    return dev.CorrectReadingsRequest(device_id=device_id, corrections=corrections, reason="the logger was out")


def pb_correction(start: object, reported: float, corrected: float) -> dev.Correction:
    made = dev.Correction(reported=reported, corrected=corrected)
    made.observed_at.CopyFrom(start)  # type: ignore[arg-type]
    return made


def test_a_demand_that_is_over_is_no_leak_any_more(water: Running) -> None:
    play(water, 6, Leak("145", 5 * 3600, 90))
    (found,) = told(water, ev.LeakFound)
    begin = int(BEGIN.timestamp() * 1e6)
    for second, shown in Pipes(SENSORS, 12, 9).steps():
        if second <= 6 * 3600 + 900:
            continue
        water.advance(to=BEGIN + timedelta(seconds=second))
        at = timestamp(begin + second * 1_000_000)
        batch = [dev.DeviceReading(device_id=f"p-{node}", observed_at=at, value=metres) for node, metres in shown.items()]
        water.fire("ReportReadings", dev.ReportReadingsRequest(readings=batch))
    water.advance(300)
    water.rest()
    assert water.fire("GetLeak", pb.GetLeakRequest(leak_id=found.leak_id)).leak.state == pb.LEAK_STATE_RETRACTED
    order = water.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=found.leak.order_id)).order
    assert order.state == orders.ORDER_STATE_VOID
    assert [one.water_off for one in told(water, ev.CustomersTold)][:1] == [True]
    assert not told(water, ev.CustomersTold)[-1].water_off


def test_a_stuck_valve_makes_the_plan_anew(water: Running) -> None:
    play(water, 6, Leak("223", 5 * 3600, 90))
    (found,) = told(water, ev.LeakFound)
    leak = water.fire("GetLeak", pb.GetLeakRequest(leak_id=found.leak_id)).leak
    stuck = leak.isolation.valves[0]
    after = water.fire("ReportIsolated", pb.ReportIsolatedRequest(leak_id=leak.leak_id, stuck=[stuck])).leak
    assert after.state == pb.LEAK_STATE_FOUND
    assert stuck not in after.isolation.valves
    assert set(leak.isolation.customer_node_ids) < set(after.isolation.customer_node_ids)


def test_a_plan_can_be_asked_for_and_what_the_model_does_not_have_is_named(water: Running) -> None:
    plan = water.fire("PlanIsolation", pb.PlanIsolationRequest(network_id="net3", pipe_ids=["211"])).isolation
    assert [(one.pipe_id, one.node_id) for one in plan.valves] == [("211", "169"), ("211", "213")] or len(plan.valves) == 2
    for wrong, message in ((["x"], "no pipe x"), (["335"], "no pipe 335")):
        with pytest.raises(BadRequest, match=message):
            water.fire("PlanIsolation", pb.PlanIsolationRequest(network_id="net3", pipe_ids=wrong))
    with pytest.raises(NotFound):
        water.fire("PlanIsolation", pb.PlanIsolationRequest(network_id="net4", pipe_ids=["x"]))


def test_a_text_that_is_no_network_is_refused_with_epanets_words(water: Running) -> None:
    request = pb.RegisterWaterNetworkRequest(
        network_id="n", inp=INP.replace("\tLake", "\tNowhere"), starts_at=timestamp(0), district_id="xihu"
    )
    with pytest.raises(BadRequest, match="inp: EPANET cannot read it"):
        water.fire("RegisterWaterNetwork", request)
    request.inp = INP + " " * 200_000
    with pytest.raises(BadRequest, match="inp"):
        water.fire("RegisterWaterNetwork", request)
    request.inp = INP
    request.valves.add(pipe_id="211", node_id="10")
    with pytest.raises(BadRequest, match=r"valves\[0\]"):
        water.fire("RegisterWaterNetwork", request)


def test_a_minute_between_two_steps_of_the_model_counts_for_none() -> None:
    network = ev.WaterNetworkRegistered(step_s=900, starts_at=timestamp(0))
    assert [leaks.step_of(network, seconds * 1_000_000) for seconds in (0, 120, 121, 780, 900, -60, -121)] == [
        0, 0, None, 1, 1, 0, None,
    ]  # fmt: skip


def test_net3_is_small_enough() -> None:
    assert net3().stat().st_size < 200_000


def test_who_keeps_the_water_after_all_is_told_so_and_nobody_is_told_of_nobody() -> None:
    now = timestamp(1_800_000_000_000_000)
    candidates = [pb.LeakCandidate(pipe_id="p1")]

    def told_after(first: list[str], then: list[str]) -> list[tuple[bool, int]]:
        leak = pb.Leak(leak_id="leak-0123456789ab", network_id="n", state=pb.LEAK_STATE_FOUND)
        leak.isolation.CopyFrom(pb.Isolation(customer_node_ids=first, district_ids=["xihu"], demand_lps=1))
        plan = pb.Isolation(customer_node_ids=then, district_ids=["xihu"] if then else [], demand_lps=2)
        events = leaks.locate(leaks.LeakState(leak), candidates, 4, plan, now)
        return [(one.water_off, one.customers) for one in events if isinstance(one, ev.CustomersTold)]

    assert told_after(["a", "b"], ["a"]) == [(False, 1), (True, 1)]
    assert told_after(["a"], []) == [(False, 1)]
    assert told_after([], []) == []
    assert told_after([], ["a"]) == [(True, 1)]
    assert told_after(["a"], ["a"]) == []


# -- what one sensor alone shows ----------------------------------------------------------------------------------------------

# The pipe to node 131, where the network ends: a small leak in it shows nowhere else.
DEAD_END = Leak("137", 5 * 3600, 45)


def suspected(water: Running, hours: int = 6) -> pb.Leak:
    play(water, hours, DEAD_END)
    (event,) = told(water, ev.LeakSuspected)
    assert told(water, ev.LeakFound, ev.AnomalyFound, ev.CustomersTold) == []
    leak: pb.Leak = water.fire("GetLeak", pb.GetLeakRequest(leak_id=event.leak_id)).leak
    return leak


def look(water: Running, leak: pb.Leak, *, lost: bool, **more: str) -> pb.Leak:
    request = pb.ReportLookedAtRequest(leak_id=leak.leak_id, water_is_lost=lost, finding="somebody was there", **more)
    after: pb.Leak = water.fire("ReportLookedAt", request).leak
    water.rest()
    return after


def order_of(water: Running, leak: pb.Leak) -> orders.WorkOrder:
    order: orders.WorkOrder = water.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=leak.order_id)).order
    return order


def test_where_one_sensor_alone_shows_a_leak_at_a_dead_end_somebody_looks_and_nothing_is_shut_off_until_then(
    water: Running,
) -> None:
    leak = suspected(water)
    assert (leak.state, leak.suspect_device_id) == (pb.LEAK_STATE_SUSPECTED, "p-131")
    assert leak.candidates[0].pipe_id == "137" and not leak.HasField("isolation")
    order = order_of(water, leak)
    assert order.task == "look at the sensor p-131, and whether water is lost in one of the pipes 137"
    for method, request in (
        ("ReportIsolated", pb.ReportIsolatedRequest(leak_id=leak.leak_id)),
        ("ReportRestored", pb.ReportRestoredRequest(leak_id=leak.leak_id, outcome="a sleeve")),
    ):
        with pytest.raises(Refused, match="say by ReportLookedAt"):
            water.fire(method, request)
    with pytest.raises(BadRequest, match="pipe_id: the model of net3 has no pipe x"):
        look(water, leak, lost=True, pipe_id="x")
    found = look(water, leak, lost=True, pipe_id="137")
    assert found.state == pb.LEAK_STATE_FOUND
    assert [(one.pipe_id, one.share) for one in found.candidates] == [("137", 1.0)]
    assert "137" in found.isolation.pipe_ids
    assert order_of(water, leak).state == orders.ORDER_STATE_DONE
    shut = order_of(water, found)
    assert shut.order_id != leak.order_id and "close the valves" in shut.task
    # The same said again changes nothing, and that it is none comes too late.
    assert look(water, leak, lost=True) == found
    with pytest.raises(Refused, match="ReportRestored ends it"):
        look(water, leak, lost=False)
    assert len(told(water, ev.LeakFound)) == 1


def test_a_report_that_is_made_again_leaves_the_work_order_that_shuts_it_off_open(water: Running) -> None:
    leak = suspected(water)
    request = pb.ReportLookedAtRequest(leak_id=leak.leak_id, water_is_lost=True, finding="somebody was there")
    for _ in range(2):
        found = water.fire("ReportLookedAt", request, request_id="look-1").leak
        water.rest()
    assert order_of(water, leak).state == orders.ORDER_STATE_DONE
    assert order_of(water, found).state == orders.ORDER_STATE_WAITING


def test_where_somebody_has_looked_nobody_is_sent_again_while_the_sensor_shows_the_same(water: Running) -> None:
    leak = suspected(water)
    assert look(water, leak, lost=False).state == pb.LEAK_STATE_RETRACTED
    assert order_of(water, leak).state == orders.ORDER_STATE_DONE
    play(water, 7, DEAD_END, after=6)
    assert len(told(water, ev.LeakSuspected)) == 1
    # It was right for a while: what it shows then is new.
    play(water, 10, after=7)
    play(water, 11, Leak("137", 10 * 3600, 60), after=10)
    assert len(told(water, ev.LeakSuspected)) == 2


def test_a_sensor_that_somebody_has_found_wrong_is_an_anomaly_then(water: Running) -> None:
    play(water, 5, lie="131", by=-0.75, since=15_300)
    (event,) = told(water, ev.LeakSuspected)
    look(water, event.leak, lost=False)
    play(water, 7, lie="131", by=-0.75, after=5)
    (wrong,) = told(water, ev.AnomalyFound)
    assert wrong.device_id == "p-131"


def test_a_sensor_that_lies_where_a_leak_would_show_at_others_too_is_not_suspected_of_one(water: Running) -> None:
    play(water, 6, lie="121", by=-3.0)
    assert told(water, ev.LeakSuspected) == []
    (wrong,) = told(water, ev.AnomalyFound)
    assert wrong.device_id == "p-121"


@pytest.mark.parametrize("by", [-0.85, -1.5])
def test_one_value_that_is_far_too_low_sends_nobody(water: Running, by: float) -> None:
    play(water, 6, lie="131", by=by, since=15_300, until=16_200)
    assert told(water, ev.LeakSuspected, ev.LeakFound, ev.AnomalyFound) == []


def test_a_suspicion_ends_when_its_sensor_is_right_again(water: Running) -> None:
    leak = suspected(water)
    play(water, 8, after=6)
    assert water.fire("GetLeak", pb.GetLeakRequest(leak_id=leak.leak_id)).leak.state == pb.LEAK_STATE_RETRACTED
    assert order_of(water, leak).state == orders.ORDER_STATE_VOID


def test_a_suspected_leak_that_other_sensors_show_too_is_found_under_its_id(water: Running) -> None:
    leak = suspected(water)
    play(water, 8, Leak("137", 5 * 3600, 120), after=6)
    (found,) = told(water, ev.LeakFound)
    assert (found.leak_id, found.leak.suspect_device_id) == (leak.leak_id, "p-131")
    assert order_of(water, leak).outcome == "water is lost"
    assert "close the valves" in order_of(water, found.leak).task


def test_a_suspicion_is_retracted_when_the_readings_of_its_sensor_are_corrected(water: Running) -> None:
    leak = suspected(water)
    other = next(one.device_id for one in leak.steps[-1].residuals if one.device_id != "p-131")
    assert list(water.fire("CorrectReadings", correction(leak, other)).standing_ids) == [leak.leak_id]
    assert list(water.fire("CorrectReadings", correction(leak, "p-131")).retracted_ids) == [leak.leak_id]
