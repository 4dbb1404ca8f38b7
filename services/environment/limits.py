"""The limits above which a reading is an exceedance, as data with the standard that each is from. Pure.

*Air*: means of an hour for areas of the second kind (GB 3095-2012, table 1, grade II: where people live, work, trade). A
sensor's value over a shorter time is held against them: that is a suspicion, which a second sensor has to confirm. PM2.5 and
PM10 have limits of a day and a year only, so no single reading of them exceeds one; the index shows them.

*Water*: the class that the water is to have (`water_target` of its station); without one no limit holds. GB 3838-2002, table 1.

*Soil*: the screening values for land of the second kind (industry, traffic, offices), GB 36600-2018, table 1.

*Stacks*: the permit of the source. *Columns of air*, as satellites see them, have no limits.

A value at a limit does not exceed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from citybrain.environment.v1 import environment_service_pb2 as pb

from citybrain.services.environment import quantities, water_class


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit, in the unit of its quantity: values above `most` exceed it, and those below `least`. None: there is no such."""

    standard: str
    most: float | None = None
    least: float | None = None

    def exceeded(self, value: float) -> bool:
        """Whether a value exceeds it."""
        return (self.most is not None and value > self.most) or (self.least is not None and value < self.least)

    def bound(self, value: float) -> float:
        """What a value exceeds, or would exceed next."""
        if self.least is None or (self.most is not None and value > self.most):
            return self.most or 0.0
        return self.least


_AIR = "GB 3095-2012, table 1, grade II, 1 h"
_SOIL = "GB 36600-2018, table 1, screening value, class 2"

AIR: Mapping[pb.Quantity, Limit] = {
    pb.QUANTITY_SO2: Limit(_AIR, 500),
    pb.QUANTITY_NO2: Limit(_AIR, 200),
    pb.QUANTITY_CO: Limit(_AIR, 10),
    pb.QUANTITY_O3: Limit(_AIR, 200),
}
SOIL: Mapping[pb.Quantity, Limit] = {
    pb.QUANTITY_ARSENIC: Limit(_SOIL, 60),
    pb.QUANTITY_CADMIUM: Limit(_SOIL, 65),
    pb.QUANTITY_LEAD: Limit(_SOIL, 800),
    pb.QUANTITY_MERCURY: Limit(_SOIL, 38),
}


def limit_of(station: pb.Station, quantity: pb.Quantity, permits: Mapping[str, pb.Permit]) -> Limit | None:
    """The limit of a quantity at a station; None: there is none. `permits`: of sources, by their ids."""
    match station.medium:
        case pb.MEDIUM_AIR:
            return AIR.get(quantity)
        case pb.MEDIUM_SOIL:
            return SOIL.get(quantity)
        case pb.MEDIUM_WATER:
            return _water(station, quantity)
        case pb.MEDIUM_COLUMN:
            return None
    permit = permits.get(station.source_id)
    for one in permit.pollutants if permit is not None else ():
        if one.quantity == quantity and one.limit_mg_m3:
            return Limit(f"permit {permit.number}" if permit is not None else "", one.limit_mg_m3)
    return None


def _water(station: pb.Station, quantity: pb.Quantity) -> Limit | None:
    name, target = quantities.name(quantity), int(station.water_target)
    if not 1 <= target <= 5 or not water_class.has_limits(name, lake=station.lake):
        return None
    standard = f"{water_class.STANDARD}, table 1, class {['I', 'II', 'III', 'IV', 'V'][target - 1]}"
    if name == "PH":
        return Limit(standard, water_class.PH[1], water_class.PH[0])
    value = water_class.limits(name, lake=station.lake)[target - 1]
    return Limit(standard, least=value) if name == "DISSOLVED_OXYGEN" else Limit(standard, value)
