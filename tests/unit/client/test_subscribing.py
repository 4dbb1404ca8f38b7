"""A subscription by itself: what counts as dealt with, and how it ends. Against a real city: tests/e2e/districts."""

from __future__ import annotations

from collections.abc import Iterator

from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.events.v1.event_pb2 import Event

from citybrain.client import Place, Subscription


class Call:
    """An open stream with the messages it has."""

    def __init__(self, *responses: pb.SubscribeResponse) -> None:
        self._responses = responses
        self.cancelled = False

    def __iter__(self) -> Iterator[pb.SubscribeResponse]:
        return iter(() if self.cancelled else self._responses)

    def cancel(self) -> None:
        self.cancelled = True


class Kept:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.place = Place()

    def load(self) -> Place:
        return self.place

    def save(self, place: Place) -> None:
        self.place = place


def response(token: str, *names: str) -> pb.SubscribeResponse:
    return pb.SubscribeResponse(events=[Event(id=name) for name in names], resume_token=token)


def test_an_event_is_dealt_with_when_the_next_one_is_asked_for_and_what_is_dealt_with_comes_no_more() -> None:
    kept, asked = Kept(), list[str]()

    def opened(request: pb.SubscribeRequest) -> Call:
        asked.append(request.resume_token)
        return Call(response("t1", "a", "b", "c"), response("t2", "c", "d"))

    first = iter(Subscription(opened, pb.SubscribeRequest(), kept))
    assert [next(first).event.id for _ in range(3)] == ["a", "b", "c"]
    assert kept.place == Place("", ("a", "b"))
    again = [heard.event.id for heard in Subscription(opened, pb.SubscribeRequest(), kept)]
    assert again == ["c", "d"], "what is there twice in the log counts once"
    assert kept.place == Place("t2") and asked == ["", ""]


def test_one_that_is_closed_while_its_stream_is_opened_ends() -> None:
    call = Call(response("t1", "a"))

    def opened(request: pb.SubscribeRequest) -> Call:
        subscription.close()
        return call

    subscription = Subscription(opened, pb.SubscribeRequest(), None)
    assert list(subscription) == [] and call.cancelled
