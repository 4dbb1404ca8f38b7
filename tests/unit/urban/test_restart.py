"""What a restart must not hide: charts and rain are taken from the readings that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from citybrain.urban.v1 import devices_pb2 as pb
from citybrain.urban.v1 import events_pb2 as ev

from citybrain.mesh.errors import Unavailable
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.urban import readings
from citybrain.services.urban.charting import Charts, Fleet
from citybrain.services.urban.service import UrbanService
from citybrain.services.urban.views import DeviceRow
from tests.unit.urban.conftest import device, minutes, noise, over, register, told
from tests.unit.urban.test_drainage import registered


class City:
    """A service that can be stopped and run again on the same files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, datetime(2026, 6, 1, 6, tzinfo=UTC)

    @contextmanager
    def runs(self) -> Iterator[Running]:
        with running(UrbanService, folder=self.folder, city_time=self.now) as urban:
            urban.rest()
            yield urban
            self.now = datetime.fromtimestamp(urban.advance() / 1e6, UTC)


@pytest.fixture
def city(tmp_path: Path) -> City:
    return City(tmp_path)


def test_what_creeps_is_found_over_a_restart_as_without_one(city: City) -> None:
    with city.runs() as urban:
        register(urban, device())
        # A standard deviation above: the sum passes its limit after 51 windows, the mean never.
        minutes(urban, *[52] * 45)
    with city.runs() as urban:
        assert told(urban, ev.AnomalyFound) == []
        minutes(urban, *[52] * 12)
        over(urban)
        (found,) = told(urban, ev.AnomalyFound)
        assert (found.anomaly.chart.rule, len(found.anomaly.evidence), found.anomaly.missing_windows) == ("CUSUM", 12, 0)


def test_what_was_learnt_until_a_restart_is_learnt_on_after_it_and_told_once(city: City) -> None:
    with city.runs() as urban:
        register(urban, device(baseline=None))
        minutes(urban, *noise(40))
    with city.runs() as urban:
        minutes(urban, *noise(24, seed=2))
        over(urban)
        assert len(told(urban, ev.BaselinesLearnt)) == 1
        minutes(urban, 90, 90)
    with city.runs() as urban:
        minutes(urban, 90)
        over(urban)
        assert len(told(urban, ev.AnomalyFound)) == 1
        assert len(told(urban, ev.BaselinesLearnt)) == 1


def test_readings_of_a_retracted_anomaly_and_of_another_place_do_not_come_again_with_a_restart(city: City) -> None:
    with city.runs() as urban:
        register(urban, device(), device("d2", baseline=pb.Baseline(mean=90, sigma=2)))
        moments = minutes(urban, *noise(5), 90, 90, 90)
        minutes(urban, *[90] * 4, device_id="d2")
        over(urban)
        wrong = [pb.Correction(observed_at=timestamp(at), reported=90, corrected=50) for at in moments[-3:]]
        urban.fire("CorrectReadings", pb.CorrectReadingsRequest(device_id="d1", corrections=wrong, reason="slipped"))
        register(urban, device("d2", baseline=pb.Baseline(mean=50, sigma=2)))
        assert len(told(urban, ev.AnomalyFound)) == 1
    with city.runs() as urban:
        for _ in range(4):
            minutes(urban, 50)
            minutes(urban, 50, device_id="d2")
        over(urban)
        assert len(told(urban, ev.AnomalyFound)) == 1


def test_what_is_recalled_counts_once_also_where_recalling_fails_on_the_way(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    with city.runs() as urban:
        register(urban, device(baseline=None))
        minutes(urban, *noise(40))
    recall, calls = Charts.recall, list[int]()

    def fails(charts: Charts, start: int, *what: Any) -> None:
        calls.append(start)
        if len(calls) == 30:
            raise Unavailable("not now")
        recall(charts, start, *what)

    monkeypatch.setattr(Charts, "recall", fails)
    with city.runs() as urban:
        minutes(urban, *noise(15, seed=2))
        over(urban)
        assert told(urban, ev.BaselinesLearnt) == [], "of 60 windows there are 55"
        assert len(calls) > 60


def test_a_baseline_that_was_complete_just_before_a_restart_is_told_after_it() -> None:
    minute, charts = 60_000_000, Charts()
    one = DeviceRow("d1", "bridge_strain", "xihu", 30.0, 120.0, False, 0, 0, False, 0, 0, "", "")
    fleet = Fleet({"d1": one})
    for n, value in enumerate(noise(60)):
        charts.recall(n * minute, {"d1": (1, value)}, fleet, {})
    assert list(charts.take(60 * minute, {}, fleet, {}, ()).learnt) == ["d1"]
    assert not charts.take(61 * minute, {}, fleet, {}, ()).learnt


def test_the_rain_before_a_restart_counts_after_it(city: City) -> None:
    with city.runs() as urban:
        registered(urban)
        register(urban, device("rain-1", "rain", baseline=None, network_id="west"))
        minutes(urban, *[60] * 20, device_id="rain-1")
        over(urban)
        assert told(urban, ev.DrainageOutlookChanged)[-1].outlook.level == 100
        levels = len(told(urban, ev.DrainageOutlookChanged))
    with city.runs() as urban:
        minutes(urban, *[2] * 8, device_id="rain-1")
        over(urban)
        assert len(told(urban, ev.DrainageOutlookChanged)) == levels, "the pipes are still full of what fell before"


def test_windows_are_folded_anew_as_they_were_closed_then() -> None:
    def batch(second: int, *values: float) -> pb.ReportReadingsRequest:
        made = [
            pb.DeviceReading(device_id="d", observed_at=timestamp((second + n) * 1_000_000), value=value)
            for n, value in enumerate(values)
        ]
        return pb.ReportReadingsRequest(readings=made)

    again = readings.Refolding(300_000_000)
    assert again.take([(10_000_000, batch(10, 1.0, 2.0)), (70_000_000, batch(70, 5.0))]) == []
    # Of the first minute nothing counts any more that comes after two minutes; what is sent twice counts once.
    (first,) = again.take([(121_000_000, batch(12, 9.0)), (121_000_000, batch(70, 5.0)), (290_000_000, batch(305, 1.0))])[:1]
    assert first == (0, {"d": (0b11 << 10, 3.0)})
    assert again.rest() == []
    later: Any = None
    assert again.take([(360_000_000, later)]) == [], "what came so late holds nothing from before, and is not read"
