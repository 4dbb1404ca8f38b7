"""How much a consumer may use on a day: the classes of methods, the configured limits, and what somebody over one is told."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from google.protobuf.descriptor import MethodDescriptor

from citybrain.mesh.access.principal import EVERYTHING, Principal
from citybrain.mesh.errors import QuotaUsed
from citybrain.mesh.settings.values import OwnQuota, Quotas

CLASSES = ("read", "command", "stream")
"""The classes of methods. In code a class is its place here."""
DAY_S = 86_400
OFFSET_S = 8 * 3600
"""Hangzhou is so far ahead of UTC."""

HANGZHOU = timezone(timedelta(seconds=OFFSET_S))
_TOLD = ("calls that read", "calls that change something", "opened streams")


def class_of(method: MethodDescriptor, reads: bool) -> int:
    """The class of a method. `reads`: its scope ends with .read."""
    if method.server_streaming or method.client_streaming:
        return 2
    return 0 if reads else 1


def digest_of(subject: str) -> bytes:
    """What is stored in place of a subject."""
    return hashlib.sha256(subject.encode("utf-8", "surrogatepass")).digest()


def limits_of(caller: Principal, said: Quotas) -> tuple[float, ...]:
    """What a caller may use of each class: as is said for them, or else for their team, or else for all."""
    # Whoever may do everything runs the installation, and must not shut themselves out.
    common = None if EVERYTHING in caller.scopes else said
    first = (said.subjects.get(caller.subject), said.teams.get(caller.team), common)
    return tuple(_limit(name, first) for name in CLASSES)


def _limit(name: str, said: Sequence[OwnQuota | Quotas | None]) -> float:
    for one in said:
        limit: int | None = getattr(one, name, None)
        if limit is not None:
            return limit or math.inf
    return math.inf


def used_up(caller: Principal, number: int, limit: int, ends: float, now: float) -> QuotaUsed:
    """The error for a caller who has used up a class. `ends`: when the next day begins."""
    anew = datetime.fromtimestamp(ends, HANGZHOU).isoformat()
    return QuotaUsed(
        f"{caller.subject} has used up today's quota of {limit} {_TOLD[number]}: it begins anew at {anew}. If that is not "
        "enough for a day, ask the city for more (quotas.subjects)",
        max(1, math.ceil(ends - now)),
        {"class": CLASSES[number], "limit": str(limit), "begins_anew": anew},
    )
