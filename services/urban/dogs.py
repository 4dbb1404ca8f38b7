"""A dog that is registered (犬只): whose it is, and until when it is vaccinated. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, NotFound
from citybrain.mesh.events import microseconds


@dataclass(frozen=True, slots=True)
class State:
    """A dog as its events tell it."""

    dog: pb.Dog | None = None


def evolve(state: State, event: Message) -> State:
    """The dog after an event."""
    if isinstance(event, ev.DogRegistered):
        made = pb.Dog(
            tag_id=event.tag_id, district_id=event.district_id, vaccinated_until=event.vaccinated_until,
            owner_id=event.owner_id,
        )  # fmt: skip
        if event.HasField("owner"):
            made.owner.CopyFrom(event.owner)
        return State(made)
    if isinstance(event, ev.DogVaccinationDue) and state.dog is not None:
        made = pb.Dog()
        made.CopyFrom(state.dog)
        made.due = True
        return State(made)
    return state


def district_of(state: State) -> str:
    """Where it is registered."""
    return state.dog.district_id if state.dog is not None else ""


def existing(state: State, tag_id: str) -> pb.Dog:
    """The dog, or NotFound."""
    if state.dog is None:
        raise NotFound(f"no dog has the tag {tag_id}", "NO_SUCH_DOG")
    return state.dog


def register(state: State, request: pb.RegisterDogRequest, owner_id: str, now: int) -> list[Message]:
    """Registers it, or renews its vaccination."""
    if microseconds(request.vaccinated_until) <= now:
        raise BadRequest([("vaccinated_until", "is over: have it vaccinated first")])
    made = ev.DogRegistered(
        tag_id=request.tag_id, district_id=request.district_id, vaccinated_until=request.vaccinated_until,
        owner_id=owner_id, owner=request.owner,
    )  # fmt: skip
    if state.dog is None:
        return [made]
    before = state.dog
    if evolve(State(), made) == state:
        return []
    replaced = ev.DogRegistrationReplaced(
        tag_id=before.tag_id, district_id=before.district_id, vaccinated_until=before.vaccinated_until
    )
    return [replaced, made]


def fall_due(state: State, now: int) -> list[Message]:
    """Its vaccination has ended: told once."""
    dog = state.dog
    if dog is None or dog.due or microseconds(dog.vaccinated_until) > now:
        return []
    return [
        ev.DogVaccinationDue(
            tag_id=dog.tag_id, district_id=dog.district_id, vaccinated_until=dog.vaccinated_until, owner_id=dog.owner_id
        )
    ]
