"""The kinds of faults that can be switched on in a process; the contract of the mesh has the same names."""

from __future__ import annotations

from enum import StrEnum

_PREFIX = "FAULT_KIND_"


class Kind(StrEnum):
    """What is wrong."""

    LATENCY = "latency"
    ERRORS = "errors"
    POISON = "poison"
    STALL = "stall"
    LOST_LEAD = "lost-lead"
    CLOCK_SKEW = "clock-skew"

    @property
    def in_contract(self) -> str:
        """Its name in the contract."""
        return f"{_PREFIX}{self.name}"

    @classmethod
    def named(cls, in_contract: str) -> Kind:
        """The kind with a name of the contract."""
        return cls[in_contract.removeprefix(_PREFIX)]
