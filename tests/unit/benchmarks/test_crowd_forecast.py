"""The judge of forecasts: each is made from what was known, and errors are those of the hours that came."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from benchmarks import crowd_forecast
from citybrain.services.tourism.hours import DAY
from tests.unit.tourism.hour_series import FIRST, people

DAYS, JUDGED = 84, 14


def test_a_forecast_is_judged_beside_the_naive_one_on_the_same_hours() -> None:
    series = people(DAYS)
    found = crowd_forecast.judge(series, FIRST, JUDGED)
    assert found is not None
    assert found.mase[1] < 0.6 * found.naive[1] and found.mase[1] < found.mase[24] < found.naive[24]
    assert all(found.told.values())
    assert all(0.65 < one < 0.95 for one in found.covered.values())
    naive = np.abs(series[168:] - series[:-168])
    until = (DAYS - JUDGED) * DAY
    tried = [naive[end - 168] for end in range(until, len(series) - 23, crowd_forecast.EACH)]
    assert found.naive[1] == pytest.approx(np.mean(tried) / naive[: until - 168].mean())


def test_what_comes_later_is_in_no_forecast() -> None:
    series = people(DAYS)
    surge = series.copy()
    last = range((DAYS - JUDGED) * DAY, len(series) - 23, crowd_forecast.EACH)[-1]
    surge[last] += 10_000
    calm, found = (crowd_forecast.judge(one, FIRST, JUDGED) for one in (series, surge))
    assert calm is not None and found is not None
    # The whole of it is missed, a day and an hour before, but for what was missed already.
    scale = np.abs(series[168:] - series[:-168])[: (DAYS - JUDGED) * DAY - 168].mean()
    tried = len(range((DAYS - JUDGED) * DAY, len(series) - 23, crowd_forecast.EACH))
    assert (found.mase[1] - calm.mase[1]) * scale * tried == pytest.approx(10_000, rel=0.05)


def test_hours_that_were_not_counted_are_not_judged_and_too_few_are_not_learnt_from() -> None:
    series = people(DAYS)
    series[(DAYS - JUDGED) * DAY :] = np.nan
    assert crowd_forecast.judge(series, FIRST, JUDGED) is None
    assert crowd_forecast.judge(people(56 + JUDGED)[DAY:], FIRST + timedelta(days=1), JUDGED) is None


def test_the_months_that_are_judged_come_after_those_that_numbers_were_chosen_on() -> None:
    assert date(crowd_forecast.YEAR, min(crowd_forecast.MONTHS), 1) > date(2024, 12, 31)
