"""Who calls, as a verified token says it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from citybrain.options.v1 import options_pb2

SERVICE = "service:"
"""Begins the subject of every service of the mesh, and of nobody else."""
CLEARANCES = {
    "PUBLIC": options_pb2.CLASSIFICATION_PUBLIC,
    "INTERNAL": options_pb2.CLASSIFICATION_INTERNAL,
    "RESTRICTED": options_pb2.CLASSIFICATION_RESTRICTED,
    "SECRET": options_pb2.CLASSIFICATION_SECRET,
}
EVERYTHING = "*"
"""The scope that holds every other. Only the installation's own tokens may have it."""

_LONGEST = 4000
# It stands in every event that its call writes.
_LONGEST_SUBJECT = 200


def service_subject(name: str) -> str:
    """The subject of a service, by the name in its manifest."""
    return f"{SERVICE}{name}"


def behalf_of(actor: str) -> str:
    """For whom somebody acts because of an event: its actor, or nobody if that is a service."""
    return "" if actor.startswith(SERVICE) else actor


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `subject`: who wants something. `actor`: the service that calls for them; empty: they call themselves."""

    subject: str
    actor: str = ""
    team: str = ""
    scopes: frozenset[str] = frozenset()
    # Empty: bound to no district.
    district: str = ""
    clearance: int = options_pb2.CLASSIFICATION_PUBLIC
    # When the token ends, in seconds since 1970. It says nothing of who calls.
    ends: float = field(default=math.inf, compare=False)

    @property
    def caller(self) -> str:
        """Who makes the call itself: the service, or the subject."""
        return self.actor or self.subject

    @property
    def is_service(self) -> bool:
        """Whether a service of the mesh calls."""
        return self.caller.startswith(SERVICE)

    def holds(self, scope: str) -> bool:
        """Whether the token holds a scope."""
        return scope in self.scopes or EVERYTHING in self.scopes


NOBODY = Principal("nobody")
"""Takes the place of a caller where no token is needed."""


class ClaimError(Exception):
    """A claim of a token cannot be used; the message names it."""


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """The caller that the claims of a verified token describe. ClaimError: a claim has no usable value."""
    actor = claims.get("act", {})
    if not isinstance(actor, Mapping):
        raise ClaimError("act must be an object with a sub (RFC 8693)")
    clearance = _text(claims, "clearance") or "PUBLIC"
    if clearance not in CLEARANCES:
        raise ClaimError(f"clearance must be one of {', '.join(CLEARANCES)}")
    return Principal(
        subject=_text(claims, "sub", _LONGEST_SUBJECT),
        actor=_text(actor, "sub", _LONGEST_SUBJECT),
        team=_text(claims, "team"),
        scopes=frozenset(_text(claims, "scope").split()),
        district=_text(claims, "district"),
        clearance=CLEARANCES[clearance],
        ends=float(claims.get("exp", math.inf)),
    )


def _text(claims: Mapping[str, Any], name: str, longest: int = _LONGEST) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > longest:
        raise ClaimError(f"{name} must be a text of at most {longest} characters")
    return value
