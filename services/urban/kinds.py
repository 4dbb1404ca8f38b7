"""What devices measure, and how long work may take: tables with their versions.

Ranges are what such a device can measure at all, both ends included. A value outside is refused. Where a value would fit in
another unit, the refusal says so: that finds a sender who mixes units up. All values are proposals of this project, of no
standard: docs/urban-management.md says what each is made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERSION = "urban-kinds-1"
"""Stands on each event that was decided by these tables. A changed table gets another one."""


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """`floor`: the smallest standard deviation that is believed of a baseline, in the unit. `order`: the work that is asked
    for.

    `charted`: whether it has a normal state that a control chart can learn. A bin is filled and emptied: only its limits count.
    `mixed_up`: units in which senders have sent by mistake, with the factor to the right one.
    """

    unit: str
    low: float
    high: float
    floor: float
    order: str
    charted: bool = True
    mixed_up: tuple[tuple[str, float], ...] = ()


DEVICES: Mapping[str, DeviceKind] = {
    "drainage_level": DeviceKind("m", -1, 20, 0.01, "drainage", mixed_up=(("cm", 0.01), ("mm", 0.001))),
    "river_level": DeviceKind("m", -5, 30, 0.01, "drainage", mixed_up=(("cm", 0.01), ("mm", 0.001))),
    "rain": DeviceKind("mm/h", 0, 300, 0.5, "drainage", charted=False, mixed_up=(("µm/h", 0.001),)),
    "bridge_strain": DeviceKind("µε", -3000, 3000, 1, "bridge", mixed_up=(("nε", 0.001),)),
    "tunnel_water": DeviceKind("m", 0, 5, 0.01, "tunnel", charted=False, mixed_up=(("cm", 0.01), ("mm", 0.001))),
    "manhole_tilt": DeviceKind("degree", 0, 180, 0.5, "manhole", mixed_up=(("0.01 degree", 0.01),)),
    "bin_fill": DeviceKind("%", 0, 100, 1, "bin", charted=False, mixed_up=(("‰", 0.1),)),
    "water_pressure": DeviceKind("m of water", -10, 200, 0.05, "water", mixed_up=(("kPa", 0.10197), ("Pa", 0.00010197))),
    "gas_pressure": DeviceKind("kPa", 0, 1000, 0.05, "gas", mixed_up=(("Pa", 0.001),)),
    "gas_leak": DeviceKind("% of the lower explosive limit", 0, 100, 0.5, "gas", charted=False, mixed_up=(("ppm", 0.002),)),
    "power_load": DeviceKind("kW", 0, 5000, 0.5, "power", mixed_up=(("W", 0.001),)),
    "lamp_current": DeviceKind("A", 0, 50, 0.02, "lamp", mixed_up=(("mA", 0.001),)),
}

SILENT_HOURS: Mapping[str, float] = {"bin_fill": 24.0}
SILENT_USUALLY_HOURS = 2.0
"""A device is silent when nothing has come from it for longer than so many hours; bins may report only when they change."""

ORDER_HOURS: Mapping[str, float] = {
    "gas": 1,
    "manhole": 2,
    "tunnel": 2,
    "bridge": 4,
    "water": 4,
    "drainage": 4,
    "power": 8,
    "bin": 12,
    "lamp": 24,
    "component": 24,
    "dog": 24,
    "parking": 24,
    "hazard": 72,
    "river": 48,
    "maintenance": 72,
    "other": 72,
}
"""Kind of work → the hours that it may take from its opening."""

COMPONENT_CLASSES = ("public_utility", "road_traffic", "appearance", "greening", "other")
"""The classes of components by GB/T 30428.2-2013: 公用设施, 道路交通, 市容环境, 园林绿化, 其他."""


def wrong_value(kind: DeviceKind, value: float) -> tuple[str, str] | None:
    """Why a value cannot be right, as a reason and a sentence; None: it can."""
    if kind.low <= value <= kind.high:
        return None
    fitting = [(unit, factor) for unit, factor in kind.mixed_up if value and kind.low <= value * factor <= kind.high]
    if fitting:
        would = " or ".join(f"{value:g} {unit}, which is {value * factor:g} {kind.unit}" for unit, factor in fitting)
        return "WRONG_UNIT", f"{value:g} is no value in {kind.unit}, and looks like {would}: send {kind.unit}"
    return "OUT_OF_RANGE", f"{value:g} {kind.unit} is outside of {kind.low:g} to {kind.high:g}: look after the device"
