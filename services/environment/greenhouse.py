"""Greenhouse-gas accounts: activity times factor.

A factor is never guessed: it is registered with its source and year. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused

MOST_ITEMS = 5000
"""So many activities a firm has in a year at most."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor as it was registered."""

    registered: ev.FactorRegistered | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """The activities of a firm in a year, by id."""

    items: Mapping[str, pb.GreenhouseItem] = field(default_factory=dict)


def evolve_factor(factor: Factor, event: Message) -> Factor:
    """The factor after an event."""
    return Factor(event) if isinstance(event, ev.FactorRegistered) else factor


def evolve(account: Account, event: Message) -> Account:
    """The account after an event."""
    if isinstance(event, ev.ActivityCounted):
        return Account({**account.items, event.item.activity_id: event.item})
    return account


def register(factor: Factor, request: pb.RegisterFactorRequest) -> list[Message]:
    """Makes a factor known, once. It never changes."""
    registered = ev.FactorRegistered(
        factor_id=request.factor_id, activity=request.activity, amount_unit=request.amount_unit, kg_co2e=request.kg_co2e,
        source=request.source, year=request.year,
    )  # fmt: skip
    if factor.registered is None:
        return [registered]
    if factor.registered != registered:
        problem = f"factor {request.factor_id} is {factor.registered.kg_co2e:g} already: another one has another id"
        raise AlreadyDifferent(problem, "OTHER_FACTOR")
    return []


def existing(factor: Factor, factor_id: str) -> ev.FactorRegistered:
    """The factor, or NotFound."""
    if factor.registered is None:
        raise NotFound(f"there is no factor {factor_id}: RegisterFactor makes one known, with its source", "NO_SUCH_FACTOR")
    return factor.registered


def check(request: pb.ReportActivityRequest, factor: ev.FactorRegistered) -> None:
    """BadRequest: the amount is in another unit than the factor."""
    if request.amount_unit != factor.amount_unit:
        problem = f"is {request.amount_unit}, and factor {factor.factor_id} is for one {factor.amount_unit}: convert the amount"
        raise BadRequest([("amount_unit", problem)])


def count(account: Account, request: pb.ReportActivityRequest, factor: ev.FactorRegistered) -> list[Message]:
    """Counts an activity; the amount replaces the one before. Refused: there are too many."""
    item = pb.GreenhouseItem(
        activity_id=request.activity_id, factor_id=request.factor_id, amount=request.amount, amount_unit=request.amount_unit,
        tonnes=round(request.amount * factor.kg_co2e / 1000, 6), factor_source=factor.source, factor_year=factor.year,
    )  # fmt: skip
    if account.items.get(request.activity_id) == item:
        return []
    if request.activity_id not in account.items and len(account.items) >= MOST_ITEMS:
        raise Refused(f"the account has {MOST_ITEMS} activities: put several into one", "ACCOUNT_FULL")
    after = Account({**account.items, request.activity_id: item})
    return [ev.ActivityCounted(firm_id=request.firm_id, year=request.year, item=item, total_tonnes=tonnes(after))]


def tonnes(account: Account) -> float:
    """The sum of the account, in tonnes of CO2 equivalents."""
    return round(math.fsum(one.tonnes for one in account.items.values()), 6)
