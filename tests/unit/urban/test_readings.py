"""Readings: what is refused and why, and how the rest is folded."""

from __future__ import annotations

import pytest
from citybrain.urban.v1 import devices_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.services.urban import readings
from citybrain.services.urban.kinds import DEVICES, ORDER_HOURS, wrong_value

NOW = 1_800_000_000_000_000
KINDS = {"level": "drainage_level", "main": "water_pressure"}


def sorted_out(device_id: str, value: float, away_s: float = 0) -> tuple[int, str, str]:
    one = pb.DeviceReading(device_id=device_id, observed_at=timestamp(NOW + int(away_s * 1e6)), value=value)
    good, answer = readings.sort(pb.ReportReadingsRequest(readings=[one]), KINDS, NOW)
    assert len(good.readings) == answer.accepted == 1 - answer.refused
    return answer.accepted, *((answer.refusals[0].reason, answer.refusals[0].told) if answer.refusals else ("", ""))


def test_a_good_reading_is_taken_in_up_to_both_bounds_of_time() -> None:
    assert [sorted_out("level", 1.5, away)[0] for away in (0, 60, -60)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("device_id", "value", "away", "reason", "told"),
    [
        ("other", 1.5, 0, "UNKNOWN_DEVICE", "RegisterDevices"),
        ("level", 1.5, 61, "FROM_THE_FUTURE", "61 s ahead"),
        ("level", 1.5, -86_400, "TOO_LATE", "CorrectReadings"),
        ("level", 1500, 0, "WRONG_UNIT", "1500 mm, which is 1.5 m"),
        ("main", 400, 0, "WRONG_UNIT", "kPa"),
        ("level", 1e9, 0, "OUT_OF_RANGE", "-1 to 20"),
    ],
)
def test_what_cannot_be_right_is_refused_with_a_hint(device_id: str, value: float, away: float, reason: str, told: str) -> None:
    accepted, why, hint = sorted_out(device_id, value, away)
    assert (accepted, why) == (0, reason)
    assert told in hint


def test_one_that_lies_does_not_keep_the_others_out() -> None:
    batch = pb.ReportReadingsRequest(
        readings=[pb.DeviceReading(device_id="level", observed_at=timestamp(NOW), value=value) for value in (1, 1e9, 2)]
    )
    good, answer = readings.sort(batch, KINDS, NOW)
    assert [one.value for one in good.readings] == [1, 2]
    assert [(one.index, one.device_id) for one in answer.refusals] == [(1, "level")]


def test_a_thousand_refusals_are_counted_and_a_hundred_are_shown() -> None:
    batch = pb.ReportReadingsRequest(readings=[pb.DeviceReading(device_id="x", observed_at=timestamp(NOW))] * 1000)
    _, answer = readings.sort(batch, KINDS, NOW)
    assert (answer.refused, len(answer.refusals)) == (1000, 100)


def test_the_same_reading_twice_counts_once() -> None:
    state = None
    for second, value in ((1, 5.0), (2, 7.0), (1, 5.0), (2, 7.0)):
        state = readings.fold(state, (second, value))
    assert state == (0b110, 12.0)


def test_every_kind_of_device_asks_for_work_that_has_hours_and_takes_values_of_its_own_range() -> None:
    for name, kind in DEVICES.items():
        assert kind.order in ORDER_HOURS, name
        assert wrong_value(kind, kind.low) is None is wrong_value(kind, kind.high)
        assert all(factor < 1 for _, factor in kind.mixed_up)
