"""What can be measured where, in which unit, and which sizes cannot be right. Pure.

The sizes find units that were mixed up, which are a factor of 1000 apart; they are no limits of a standard. **They are
proposals of this project**, far outside of what is measured in a city: whatever lies between them is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from citybrain.environment.v1 import environment_service_pb2 as pb

SHOWN = {
    pb.UNIT_UG_M3: "µg/m³",
    pb.UNIT_MG_M3: "mg/m³",
    pb.UNIT_MG_L: "mg/l",
    pb.UNIT_MG_KG: "mg/kg",
    pb.UNIT_M_S: "m/s",
    pb.UNIT_DEGREE: "degrees",
    pb.UNIT_CELSIUS: "°C",
    pb.UNIT_ONE: "without a unit",
    pb.UNIT_PER_L: "in a litre",
    pb.UNIT_UMOL_M2: "µmol/m²",
}


@dataclass(frozen=True, slots=True)
class Size:
    """The unit of a quantity, and between which values it lies. `least`: below it, but not 0, it is in a larger unit."""

    unit: pb.Unit
    most: float
    least: float = 0.0


_AIR = {
    pb.QUANTITY_PM2_5: Size(pb.UNIT_UG_M3, 5000, 0.2),
    pb.QUANTITY_PM10: Size(pb.UNIT_UG_M3, 10000, 0.2),
    pb.QUANTITY_SO2: Size(pb.UNIT_UG_M3, 10000, 0.2),
    pb.QUANTITY_NO2: Size(pb.UNIT_UG_M3, 10000, 0.2),
    pb.QUANTITY_CO: Size(pb.UNIT_MG_M3, 200, 0.001),
    pb.QUANTITY_O3: Size(pb.UNIT_UG_M3, 5000, 0.2),
    pb.QUANTITY_WIND_SPEED: Size(pb.UNIT_M_S, 90),
    pb.QUANTITY_WIND_DIRECTION: Size(pb.UNIT_DEGREE, 360),
}
_STACK = {
    pb.QUANTITY_PM10: Size(pb.UNIT_MG_M3, 50000),
    pb.QUANTITY_SO2: Size(pb.UNIT_MG_M3, 50000),
    pb.QUANTITY_NOX: Size(pb.UNIT_MG_M3, 50000),
    pb.QUANTITY_CO: Size(pb.UNIT_MG_M3, 200000),
}
_WATER = {
    pb.QUANTITY_DISSOLVED_OXYGEN: Size(pb.UNIT_MG_L, 40),
    pb.QUANTITY_COD_MN: Size(pb.UNIT_MG_L, 500),
    pb.QUANTITY_COD: Size(pb.UNIT_MG_L, 5000),
    pb.QUANTITY_BOD5: Size(pb.UNIT_MG_L, 2000),
    pb.QUANTITY_AMMONIA_NITROGEN: Size(pb.UNIT_MG_L, 300),
    pb.QUANTITY_TOTAL_PHOSPHORUS: Size(pb.UNIT_MG_L, 100),
    pb.QUANTITY_WATER_TEMPERATURE: Size(pb.UNIT_CELSIUS, 60),
    pb.QUANTITY_PH: Size(pb.UNIT_ONE, 14),
    # A hundred times the limit of class V and more: in µg/l most of what is measured is above it.
    pb.QUANTITY_TOTAL_NITROGEN: Size(pb.UNIT_MG_L, 500),
    pb.QUANTITY_COPPER: Size(pb.UNIT_MG_L, 100),
    pb.QUANTITY_ZINC: Size(pb.UNIT_MG_L, 200),
    pb.QUANTITY_FLUORIDE: Size(pb.UNIT_MG_L, 150),
    pb.QUANTITY_SELENIUM: Size(pb.UNIT_MG_L, 2),
    pb.QUANTITY_ARSENIC: Size(pb.UNIT_MG_L, 10),
    pb.QUANTITY_MERCURY: Size(pb.UNIT_MG_L, 0.1),
    pb.QUANTITY_CADMIUM: Size(pb.UNIT_MG_L, 1),
    pb.QUANTITY_CHROMIUM_VI: Size(pb.UNIT_MG_L, 10),
    pb.QUANTITY_LEAD: Size(pb.UNIT_MG_L, 10),
    pb.QUANTITY_CYANIDE: Size(pb.UNIT_MG_L, 20),
    pb.QUANTITY_VOLATILE_PHENOL: Size(pb.UNIT_MG_L, 100),
    pb.QUANTITY_PETROLEUM: Size(pb.UNIT_MG_L, 1000),
    pb.QUANTITY_ANIONIC_SURFACTANT: Size(pb.UNIT_MG_L, 300),
    pb.QUANTITY_SULFIDE: Size(pb.UNIT_MG_L, 500),
    pb.QUANTITY_FECAL_COLIFORM: Size(pb.UNIT_PER_L, 1e9),
}
_SOIL = {
    pb.QUANTITY_CADMIUM: Size(pb.UNIT_MG_KG, 5000),
    pb.QUANTITY_LEAD: Size(pb.UNIT_MG_KG, 100000),
    pb.QUANTITY_ARSENIC: Size(pb.UNIT_MG_KG, 50000),
    pb.QUANTITY_MERCURY: Size(pb.UNIT_MG_KG, 5000),
}
_COLUMN = {
    pb.QUANTITY_AEROSOL_OPTICAL_DEPTH: Size(pb.UNIT_ONE, 10),
    pb.QUANTITY_NO2_COLUMN: Size(pb.UNIT_UMOL_M2, 5000, 0.01),
}
MEASURED: Mapping[pb.Medium, Mapping[pb.Quantity, Size]] = {
    pb.MEDIUM_AIR: _AIR,
    pb.MEDIUM_WATER: _WATER,
    pb.MEDIUM_SOIL: _SOIL,
    pb.MEDIUM_STACK: _STACK,
    pb.MEDIUM_COLUMN: _COLUMN,
}


_LARGER = {pb.UNIT_UG_M3: ("mg/m³", 1000), pb.UNIT_UMOL_M2: ("mol/m²", 1_000_000)}


def name(quantity: pb.Quantity) -> str:
    """A quantity as tables name it: PM2_5."""
    return pb.Quantity.Name(quantity).removeprefix("QUANTITY_")


_NUMBERED = {name(quantity): quantity for measured in MEASURED.values() for quantity in measured}


def numbered(name: str) -> pb.Quantity:
    """The quantity that tables name so."""
    return _NUMBERED[name]


def unit_problem(medium: pb.Medium, quantity: pb.Quantity, unit: pb.Unit) -> str:
    """What is wrong with the unit of a reading; empty: nothing."""
    size = MEASURED[medium][quantity]
    if unit == size.unit:
        return ""
    return f"is {SHOWN[unit]}, and {name(quantity)} is reported in {SHOWN[size.unit]} here: convert the value"


def size_problem(medium: pb.Medium, quantity: pb.Quantity, value: float) -> str:
    """What is wrong with the size of a reading in its unit; empty: nothing."""
    size = MEASURED[medium][quantity]
    unit, told = SHOWN[size.unit], f"{name(quantity)} of {value:g}"
    if value < 0:
        return f"is below 0, and there is no {name(quantity)} below 0: look at the sensor"
    if value > size.most:
        smaller = {pb.UNIT_MG_M3: "µg/m³", pb.UNIT_MG_L: "µg/l", pb.UNIT_MG_KG: "µg/kg"}.get(size.unit)
        hint = f"it looks as if it were in {smaller}, divide by 1000" if smaller else "look at its unit"
        return f"is more than {size.most:g} {unit}, which no sensor here measures ({told}): {hint}"
    if 0 < value < size.least:
        larger, times = _LARGER.get(size.unit, ("a larger unit", 1000))
        return f"is less than {size.least:g} {unit} and not 0 ({told}): it looks as if it were in {larger}, multiply by {times}"
    return ""
