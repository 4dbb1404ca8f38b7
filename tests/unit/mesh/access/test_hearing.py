"""Who may ask for which events by name."""

from __future__ import annotations

import pytest
from citybrain.options.v1.options_pb2 import CLASSIFICATION_INTERNAL, CLASSIFICATION_PUBLIC

from citybrain.mesh.access.hearing import require_events
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.errors import BadRequest, Forbidden, ServiceError

PUBLIC, INTERNAL = "citybrain.personal.v1.PersonErased", "citybrain.health.v1.AmbulanceReserved"


def caller(*scopes: str, clearance: int = CLASSIFICATION_INTERNAL) -> Principal:
    return Principal("a", scopes=frozenset(scopes), clearance=clearance)


@pytest.mark.parametrize(
    ("who", "types"),
    [
        (caller(), []),
        (caller(clearance=CLASSIFICATION_PUBLIC), [PUBLIC]),
        (caller("health.events"), [INTERNAL, PUBLIC]),
        (caller("*"), [INTERNAL]),
    ],
)
def test_public_events_are_for_everybody_and_others_for_who_has_scope_and_clearance(who: Principal, types: list[str]) -> None:
    require_events(who, types)


def test_what_a_method_tells_anyway_needs_no_scope_of_its_own_but_the_clearance() -> None:
    require_events(caller(), [INTERNAL], told=[INTERNAL])
    with pytest.raises(Forbidden, match="clearance"):
        require_events(caller(clearance=CLASSIFICATION_PUBLIC), [INTERNAL], told=[INTERNAL])


@pytest.mark.parametrize(
    ("who", "types", "error", "told"),
    [
        (caller(), [PUBLIC, INTERNAL], Forbidden, "health.v1.AmbulanceReserved need the scope health.events"),
        (caller("health.read", "traffic.events"), [INTERNAL], Forbidden, "need the scope health.events"),
        (caller("health.events", clearance=CLASSIFICATION_PUBLIC), [INTERNAL], Forbidden, "need the clearance INTERNAL"),
        (caller("*"), [PUBLIC, "citybrain.health.v1.Nothing"], BadRequest, r"event_types\[1\]: is no type of event"),
        (caller("*"), ["citybrain.health.v1.ReserveBedRequest"], BadRequest, r"event_types\[0\]: is no type of event"),
        (caller("*"), ["os.path.Join"], BadRequest, "/docs/events name them"),
    ],
)
def test_others_are_told_what_they_lack(who: Principal, types: list[str], error: type[ServiceError], told: str) -> None:
    with pytest.raises(error, match=told):
        require_events(who, types)
