"""Devices while the service runs: anomalies that are found, end, and are retracted, and their work orders."""

from __future__ import annotations

import pytest
from citybrain.urban.v1 import devices_pb2 as pb
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import urban_service_pb2 as orders

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running
from citybrain.services.urban import devices
from tests.unit.urban.conftest import device, minutes, noise, over, register, report, told


def test_a_bridge_that_strains_is_an_anomaly_with_its_basis_and_a_work_order(urban: Running) -> None:
    register(urban, device())
    minutes(urban, *noise(20), 90, 90, 90)
    over(urban)
    (found,) = told(urban, ev.AnomalyFound)
    one = found.anomaly
    assert (one.chart.rule, one.chart.version, one.chart.baseline.mean) == ("EWMA", "urban-charts-1", 50)
    assert [window.mean for window in one.evidence][-3:] == [90, 90, 90]
    assert (len(one.evidence), one.missing_windows) == (12, 0)
    (order,) = told(urban, ev.WorkOrderOpened)
    assert (order.order_id, order.kind, order.subject_id) == (one.order_id, "bridge", one.anomaly_id)
    assert order.deadline.seconds - order.opened_at.seconds == 4 * 3600
    shown = urban.fire("GetDevice", pb.GetDeviceRequest(device_id="d1"))
    assert (shown.anomaly.anomaly_id, shown.anomalies) == (one.anomaly_id, 1)
    assert urban.fire("ListAnomalies", pb.ListAnomaliesRequest(district_id="xihu")).anomalies[0] == one
    assert not urban.fire("ListAnomalies", pb.ListAnomaliesRequest(district_id="gongshu")).anomalies


def test_a_device_that_is_well_for_four_hours_raises_nothing(urban: Running) -> None:
    register(urban, device())
    minutes(urban, *noise(240))
    over(urban)
    assert told(urban, ev.AnomalyFound, ev.WorkOrderOpened) == []


def test_an_anomaly_that_goes_on_is_told_once_and_ends_when_it_is_calm_again(urban: Running) -> None:
    register(urban, device())
    minutes(urban, *noise(5), *[90] * 10, *noise(4))
    over(urban)
    assert len(told(urban, ev.AnomalyFound)) == 1
    assert told(urban, ev.AnomalyEnded) == []
    minutes(urban, *noise(60, seed=2))
    over(urban)
    assert len(told(urban, ev.AnomalyFound)) == len(told(urban, ev.AnomalyEnded)) == 1
    assert not urban.fire("GetDevice", pb.GetDeviceRequest(device_id="d1")).HasField("anomaly")


def test_a_limit_that_is_just_passed_and_just_not_does_not_flap(urban: Running) -> None:
    register(urban, device(kind="bin_fill", baseline=None, alarm_from=90, alarm_until=80))
    minutes(urban, *[90.1, 89.9] * 5)
    over(urban)
    assert told(urban, ev.AnomalyFound) == []
    minutes(urban, *[90.1] * 3, *[89.9, 90.1] * 5)
    over(urban)
    (found,) = told(urban, ev.AnomalyFound)
    assert (found.anomaly.chart.rule, found.anomaly.chart.limit) == ("LIMIT", 90)
    assert told(urban, ev.AnomalyEnded) == []
    minutes(urban, *[10] * 5)
    over(urban)
    assert len(told(urban, ev.AnomalyEnded)) == 1


def test_an_anomaly_is_retracted_when_corrected_readings_do_not_support_it_and_its_order_is_void(urban: Running) -> None:
    register(urban, device())
    moments = minutes(urban, *noise(20), 90, 90, 90)
    over(urban)
    (found,) = told(urban, ev.AnomalyFound)
    corrections = [pb.Correction(observed_at=timestamp(at), reported=90, corrected=51) for at in moments[-3:]]
    request = pb.CorrectReadingsRequest(device_id="d1", corrections=corrections, reason="the gauge had slipped")
    answer = urban.fire("CorrectReadings", request)
    assert list(answer.retracted_ids) == [found.anomaly.anomaly_id]
    (retracted,) = told(urban, ev.AnomalyRetracted)
    assert [window.mean for window in retracted.evidence][-3:] == [51, 51, 51]
    order = urban.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=found.anomaly.order_id)).order
    assert order.state == orders.ORDER_STATE_VOID
    urban.rest()
    minutes(urban, *noise(5, seed=4))
    over(urban)
    assert len(told(urban, ev.AnomalyFound)) == 1
    assert urban.fire("GetDevice", pb.GetDeviceRequest(device_id="d1")).anomalies == 0


def test_an_anomaly_that_is_still_supported_is_upheld_and_a_reading_is_corrected_once(urban: Running) -> None:
    register(urban, device())
    moments = minutes(urban, *noise(20), 90, 90, 90)
    over(urban)
    correction = pb.Correction(observed_at=timestamp(moments[-1]), reported=90, corrected=85)
    request = pb.CorrectReadingsRequest(device_id="d1", corrections=[correction], reason="rounded")
    assert len(urban.fire("CorrectReadings", request).standing_ids) == 1
    assert told(urban, ev.AnomalyUpheld)[0].evidence[-1].mean == 85
    with pytest.raises(BadRequest, match="corrected before"):
        urban.fire("CorrectReadings", request)


def test_a_late_reading_counts_in_the_mean_of_its_minute_and_a_withdrawn_one_no_more(urban: Running) -> None:
    register(urban, device())
    moments = minutes(urban, *noise(20), 90, 90, 90)
    over(urban)
    late = pb.Correction(observed_at=timestamp(moments[-1] + 1), corrected=88)
    request = pb.CorrectReadingsRequest(device_id="d1", corrections=[late], reason="the network was out")
    assert urban.fire("CorrectReadings", request).standing_ids
    assert told(urban, ev.AnomalyUpheld)[0].evidence[-1] == pb.WindowMean(
        start=told(urban, ev.AnomalyFound)[0].anomaly.evidence[-1].start, mean=89, readings=2
    )
    gone = [pb.Correction(observed_at=timestamp(at), reported=90) for at in moments[-3:]]
    request = pb.CorrectReadingsRequest(device_id="d1", corrections=gone, reason="not of this device")
    assert urban.fire("CorrectReadings", request).retracted_ids


def test_what_is_normal_is_learnt_from_sixty_windows_told_once_and_forgotten_when_asked(urban: Running) -> None:
    register(urban, device(baseline=None))
    minutes(urban, *noise(59))
    over(urban)
    assert told(urban, ev.BaselinesLearnt) == []
    minutes(urban, *noise(6, seed=2))
    over(urban)
    (learnt,) = told(urban, ev.BaselinesLearnt)
    (one,) = learnt.baselines
    assert (one.device_id, learnt.windows) == ("d1", 60)
    assert one.baseline.mean == pytest.approx(50, abs=1)
    assert one.baseline.sigma == pytest.approx(2, abs=0.6)
    minutes(urban, *[90] * 3)
    over(urban)
    assert len(told(urban, ev.AnomalyFound)) == 1
    urban.fire("RelearnDevice", pb.RelearnDeviceRequest(device_id="d1", reason="a new gauge"))
    urban.rest()
    minutes(urban, *noise(66, mean=90))
    over(urban)
    assert told(urban, ev.BaselinesLearnt)[1].baselines[0].baseline.mean == pytest.approx(90, abs=1)


def test_the_same_reading_sent_twice_changes_nothing(urban: Running) -> None:
    register(urban, device())
    minutes(urban, *noise(5))
    for _ in range(3):
        at = urban.advance(60)
        for _ in range(3):
            report(urban, 90, at=at)
    over(urban)
    (found,) = told(urban, ev.AnomalyFound)
    assert [window.readings for window in found.anomaly.evidence] == [1] * 8


def test_a_window_without_readings_is_said_to_be_missing(urban: Running) -> None:
    register(urban, device())
    minutes(urban, *noise(5))
    urban.advance(120)
    minutes(urban, 90, 90, 90)
    over(urban)
    assert told(urban, ev.AnomalyFound)[0].anomaly.missing_windows == 2


def test_a_device_that_cannot_be_is_refused_with_the_field(urban: Running) -> None:
    for wrong, field in (
        (device(kind="crystal_ball"), "kind"),
        (device(network_id="net"), "network_id"),
        (device(kind="bin_fill", alarm_from=80, alarm_until=90), "alarm_until"),
        (device(kind="bin_fill", baseline=None), "alarm_from"),
        (device(kind="gas_leak", alarm_from=25.1, alarm_until=20), "alarm_from: .* GB/T 50493"),
    ):
        with pytest.raises(BadRequest, match=rf"devices\[0\].{field}"):
            urban.fire("RegisterDevices", pb.RegisterDevicesRequest(devices=[wrong]))
    register(urban, device())
    other = device(kind="bin_fill", alarm_from=90, alarm_until=80)
    with pytest.raises(Refused, match="another id"):
        urban.fire("RegisterDevices", pb.RegisterDevicesRequest(devices=[other]))
    assert urban.fire("RegisterDevices", pb.RegisterDevicesRequest(devices=[device()])).changed == 0
    with pytest.raises(NotFound):
        urban.fire("GetDevice", pb.GetDeviceRequest(device_id="d2"))
    with pytest.raises(Refused, match="baseline that was given"):
        urban.fire("RelearnDevice", pb.RelearnDeviceRequest(device_id="d1", reason="x"))


def test_who_is_bound_to_a_district_sees_no_device_of_another(urban: Running) -> None:
    register(urban, device())
    assert urban.fire("GetDevice", pb.GetDeviceRequest(device_id="d1"), district="xihu").device == device()
    with pytest.raises(Forbidden):
        urban.fire("GetDevice", pb.GetDeviceRequest(device_id="d1"), district="gongshu")


def test_one_anomaly_goes_on_at_a_time_and_a_window_that_is_taken_again_finds_it_once() -> None:
    state = devices.DeviceState(device())
    first = pb.Anomaly(anomaly_id="ano-1", device_id="d1")
    (found,) = devices.find(state, first)
    state = devices.evolve(state, found)
    assert devices.find(state, pb.Anomaly(anomaly_id="ano-2", device_id="d1")) == []
    (ended,) = devices.end(state, "d1", timestamp(1))
    state = devices.evolve(state, ended)
    assert devices.find(state, first) == []
    assert devices.end(state, "d1", timestamp(2)) == []


def test_a_device_from_which_nothing_comes_is_told_once_and_again_when_it_is_heard(urban: Running) -> None:
    register(urban, device(), device("d2"), device("d3", district_id="gongshu"))
    minutes(urban, 50)
    for _ in range(2):
        urban.advance(3500)
        minutes(urban, 50, 50, device_id="d2")
    over(urban)
    urban.advance(1200)
    urban.rest()
    silent = {one.device_id: one for one in told(urban, ev.DeviceFellSilent)}
    assert sorted(silent) == ["d1", "d3"]
    assert (silent["d1"].HasField("heard_until"), silent["d3"].HasField("heard_until")) == (True, False)
    assert urban.fire("GetDevice", pb.GetDeviceRequest(device_id="d1")).silent
    first = urban.fire("ListSilentDevices", pb.ListSilentDevicesRequest(page_size=1))
    second = urban.fire("ListSilentDevices", pb.ListSilentDevicesRequest(page_size=1, page_token=first.next_page_token))
    assert [one.device_id for one in (*first.devices, *second.devices)] == ["d3", "d1"]
    there = urban.fire("ListSilentDevices", pb.ListSilentDevicesRequest(district_id="xihu"))
    assert [one.device_id for one in there.devices] == ["d1"]
    minutes(urban, 50)
    over(urban)
    assert [one.device_id for one in told(urban, ev.DeviceHeardAgain)] == ["d1"]
    assert not urban.fire("GetDevice", pb.GetDeviceRequest(device_id="d1")).silent
    assert len(told(urban, ev.DeviceFellSilent)) == 2


def test_a_device_is_silent_and_heard_once_also_before_the_read_model_knows() -> None:
    state = devices.DeviceState(device())
    assert devices.hear(state, "d1", timestamp(1)) == []
    (silent,) = devices.fall_silent(state, 0, timestamp(1))
    state = devices.evolve(state, silent)
    assert devices.fall_silent(state, 0, timestamp(2)) == []
    moved = devices.evolve(state, ev.DeviceRegistered(device=device(district_id="gongshu")))
    (heard,) = devices.hear(moved, "d1", timestamp(3))
    assert isinstance(heard, ev.DeviceHeardAgain)
    assert heard.district_id == "xihu", "its row is found where it fell silent"


def test_gas_in_the_air_is_an_anomaly_at_once_with_work_for_an_hour(urban: Running) -> None:
    register(urban, device("g1", "gas_leak", baseline=None, alarm_from=25, alarm_until=20))
    minutes(urban, *[25] * 4, *[26] * 3, device_id="g1")
    over(urban)
    (found,) = told(urban, ev.AnomalyFound)
    assert [window.mean for window in found.anomaly.evidence][-3:] == [26] * 3, "25 itself is none"
    (order,) = told(urban, ev.WorkOrderOpened)
    assert (order.kind, order.deadline.seconds - order.opened_at.seconds) == ("gas", 3600)
