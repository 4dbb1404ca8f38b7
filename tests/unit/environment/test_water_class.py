"""Classes of water by GB 3838-2002: every limit, what decides, and what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.services.environment import water_class

CLEAN = {
    "DISSOLVED_OXYGEN": 8.0, "COD_MN": 1.0, "COD": 10.0, "BOD5": 2.0, "AMMONIA_NITROGEN": 0.1, "TOTAL_PHOSPHORUS": 0.01
}  # fmt: skip


def number(**values: float) -> int:
    found = water_class.classified(CLEAN | values)
    assert found is not None
    return found.number


@pytest.mark.parametrize("name", water_class.LIMITS)
def test_a_value_at_a_limit_belongs_to_the_better_class(name: str) -> None:
    limits = water_class.LIMITS[name]
    sign = -1 if name == "DISSOLVED_OXYGEN" else 1
    for at, limit in enumerate(limits, 1):
        # Of two classes with the same limit the better one holds.
        assert number(**{name: limit}) == limits.index(limit) + 1
        worse = next((n for n, other in enumerate(limits, 1) if sign * other > sign * limit), 6)
        assert number(**{name: limit + sign * 0.001}) == worse
        assert at <= worse


def test_the_worst_decides_and_is_named() -> None:
    assert water_class.classified(CLEAN) == water_class.Class(1, tuple(water_class.LIMITS), ())
    found = water_class.classified(CLEAN | {"AMMONIA_NITROGEN": 1.2, "TOTAL_PHOSPHORUS": 0.25, "COD_MN": 5})
    assert found == water_class.Class(4, ("AMMONIA_NITROGEN", "TOTAL_PHOSPHORUS"), ())


def test_beyond_the_fifth_class_is_told_so() -> None:
    assert number(AMMONIA_NITROGEN=2.1) == number(DISSOLVED_OXYGEN=1.9) == water_class.BEYOND


def test_lakes_have_stricter_limits_of_phosphorus() -> None:
    lake = water_class.classified(CLEAN | {"TOTAL_PHOSPHORUS": 0.1}, lake=True)
    assert lake is not None and (lake.number, lake.deciding) == (4, ("TOTAL_PHOSPHORUS",))
    assert number(TOTAL_PHOSPHORUS=0.1) == 2


def test_what_is_missing_is_named_and_nothing_gives_no_class() -> None:
    found = water_class.classified({"COD_MN": 3.0, "WIND_SPEED": 3.0})
    assert found is not None and found.number == 2 and len(found.missing) == 5
    assert water_class.classified({}) is None


@given(st.dictionaries(st.sampled_from(sorted(water_class.LIMITS)), st.floats(0, 50), min_size=1))
@settings(max_examples=40)
def test_what_is_measured_besides_never_makes_water_better(values: dict[str, float]) -> None:
    whole = water_class.classified(values)
    assert whole is not None
    for name in values:
        part = water_class.classified({key: value for key, value in values.items() if key != name})
        assert part is None or part.number <= whole.number
