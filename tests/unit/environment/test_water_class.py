"""Classes of water by GB 3838-2002: every limit, what decides, and what is missing."""

from __future__ import annotations

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.services.environment import quantities, water_class

# GB 3838-2002, table 1, as it is printed: the limits of classes I to V.
TABLE = """
COD_MN 2 4 6 10 15
COD 15 15 20 30 40
BOD5 3 3 4 6 10
AMMONIA_NITROGEN 0.15 0.5 1.0 1.5 2.0
TOTAL_PHOSPHORUS 0.02 0.1 0.2 0.3 0.4
COPPER 0.01 1.0 1.0 1.0 1.0
ZINC 0.05 1.0 1.0 2.0 2.0
FLUORIDE 1.0 1.0 1.0 1.5 1.5
SELENIUM 0.01 0.01 0.01 0.02 0.02
ARSENIC 0.05 0.05 0.05 0.1 0.1
MERCURY 0.00005 0.00005 0.0001 0.001 0.001
CADMIUM 0.001 0.005 0.005 0.005 0.01
CHROMIUM_VI 0.01 0.05 0.05 0.05 0.1
LEAD 0.01 0.01 0.05 0.05 0.1
CYANIDE 0.005 0.05 0.2 0.2 0.2
VOLATILE_PHENOL 0.002 0.002 0.005 0.01 0.1
PETROLEUM 0.05 0.05 0.05 0.5 1.0
ANIONIC_SURFACTANT 0.2 0.2 0.2 0.3 0.3
SULFIDE 0.05 0.1 0.2 0.5 1.0
"""
ROWS = {name: [float(one) for one in limits] for name, *limits in map(str.split, TABLE.strip().splitlines())}
CLEAN = {name: limits[0] / 2 for name, limits in ROWS.items()} | {"DISSOLVED_OXYGEN": 8.0, "PH": 7.5}


def number(**values: float) -> int:
    found = water_class.classified(CLEAN | values)
    assert found is not None
    return found.number


@pytest.mark.parametrize("name", ROWS)
def test_a_value_at_a_limit_belongs_to_the_better_class(name: str) -> None:
    limits = ROWS[name]
    for limit in limits:
        # Of two classes with the same limit the better one holds; above it the next one with another limit.
        assert number(**{name: limit}) == limits.index(limit) + 1
        assert number(**{name: limit * 1.001}) == next((n for n, other in enumerate(limits, 1) if other > limit), 6)


def test_of_oxygen_more_is_better() -> None:
    found = [number(DISSOLVED_OXYGEN=value) for value in (7.5, 7.49, 6, 5.99, 5, 4.99, 3, 2.99, 2, 1.99)]
    assert found == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]


def test_acid_and_alkaline_water_is_beyond_all_classes_and_6_and_9_are_not() -> None:
    assert [number(PH=value) for value in (5.99, 6, 7, 9, 9.01)] == [6, 1, 1, 1, 6]


def test_what_decides_are_21_of_the_24_quantities() -> None:
    assert set(water_class.DECIDING) == set(CLEAN) and len(water_class.DECIDING) == 21
    assert len(quantities.MEASURED[pb.MEDIUM_WATER]) == 24
    assert {quantities.name(one) for one in quantities.MEASURED[pb.MEDIUM_WATER]} == {
        *water_class.DECIDING, *water_class.BESIDE, "WATER_TEMPERATURE"
    }  # fmt: skip


def test_total_nitrogen_and_faecal_coliforms_are_assessed_by_themselves_and_nitrogen_of_rivers_is_not() -> None:
    values = CLEAN | {"TOTAL_NITROGEN": 1.6, "FECAL_COLIFORM": 10_001, "WATER_TEMPERATURE": 31.0}
    lake, river = water_class.classified(values | {"TOTAL_PHOSPHORUS": 0.01}, lake=True), water_class.classified(values)
    assert lake is not None and (lake.number, lake.beside) == (1, {"TOTAL_NITROGEN": 5, "FECAL_COLIFORM": 4})
    assert river is not None and (river.number, river.beside) == (1, {"FECAL_COLIFORM": 4})
    of_lakes = [water_class.number("TOTAL_NITROGEN", value, lake=True) for value in (0.2, 0.5, 1, 1.5, 2, 2.01)]
    of_all = [water_class.number("FECAL_COLIFORM", value, lake=False) for value in (200, 2000, 10_000, 20_000, 40_000, 40_001)]
    assert of_lakes == of_all == [1, 2, 3, 4, 5, 6]
    # Alone they make no class.
    assert water_class.classified({"FECAL_COLIFORM": 100, "WATER_TEMPERATURE": 20}) is None


def test_the_worst_decides_and_is_named() -> None:
    assert water_class.classified(CLEAN) == water_class.Class(1, water_class.DECIDING, ())
    found = water_class.classified(CLEAN | {"AMMONIA_NITROGEN": 1.2, "TOTAL_PHOSPHORUS": 0.25, "COD_MN": 5})
    assert found == water_class.Class(4, ("AMMONIA_NITROGEN", "TOTAL_PHOSPHORUS"), ())


def test_beyond_the_fifth_class_is_told_so() -> None:
    assert number(AMMONIA_NITROGEN=2.1) == number(DISSOLVED_OXYGEN=1.9) == water_class.BEYOND


def test_lakes_have_stricter_limits_of_phosphorus() -> None:
    for limit, expected in ((0.01, 1), (0.0101, 2), (0.025, 2), (0.0251, 3), (0.05, 3), (0.1, 4), (0.2, 5), (0.201, 6)):
        lake = water_class.classified(CLEAN | {"TOTAL_PHOSPHORUS": limit}, lake=True)
        assert lake is not None and lake.number == expected
        assert expected == 1 or lake.deciding == ("TOTAL_PHOSPHORUS",)
    assert number(TOTAL_PHOSPHORUS=0.1) == 2


def test_what_is_missing_is_named_and_nothing_gives_no_class() -> None:
    found = water_class.classified({"COD_MN": 3.0, "WIND_SPEED": 3.0})
    assert found is not None and found.number == 2 and len(found.missing) == 20
    assert water_class.classified({}) is None


@given(st.dictionaries(st.sampled_from(sorted(water_class.DECIDING)), st.floats(0, 50), min_size=1))
@settings(max_examples=40)
def test_what_is_measured_besides_never_makes_water_better(values: dict[str, float]) -> None:
    whole = water_class.classified(values)
    assert whole is not None
    for name in values:
        part = water_class.classified({key: value for key, value in values.items() if key != name})
        assert part is None or part.number <= whole.number
