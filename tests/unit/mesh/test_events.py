"""Between messages and stored events: nothing is lost on the way, in whatever language it is written."""

from __future__ import annotations

import pytest
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import events_pb2 as health
from citybrain.options.v1.options_pb2 import CLASSIFICATION_INTERNAL, CLASSIFICATION_PUBLIC, CLASSIFICATION_RESTRICTED
from citybrain.traffic.v1 import events_pb2 as traffic
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from citybrain.event_store.store import StoredEvent
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.events import (
    classification_of,
    decode,
    hear,
    message_class,
    microseconds,
    outward,
    timestamp,
    type_name,
)
from citybrain.mesh.providers.following import Follow, _wanted
from citybrain.mesh.runtime.context import Call

HOSPITAL = health.HospitalRegistered(hospital_id="h1", name="浙江大学医学院附属第一医院")


CALLER = Principal("district desk", district="西湖区", clearance=CLASSIFICATION_INTERNAL)


def stored(message: object = HOSPITAL, **fields: object) -> StoredEvent:
    values: dict[str, object] = {
        "id": "e1", "type": type_name(message), "data": message.SerializeToString(), "occurred_at": 1_500_001,  # type: ignore[arg-type, attr-defined]
        "traceparent": "00-a-b-01", "correlation_id": "inc-1", "causation_id": "c", "actor": "急救", "district": "西湖区",
        "classification": 2, "stream": "health/hospital-h1", "version": 3, "recorded_at": 2_000_000, "position": 9,
    }  # fmt: skip
    return StoredEvent(**{**values, **fields})  # type: ignore[arg-type]


def test_an_event_goes_outward_with_everything_and_its_message_opens_again() -> None:
    shown = Event.FromString(outward(stored()).SerializeToString())
    assert (shown.id, shown.stream, shown.version, shown.correlation_id) == ("e1", "health/hospital-h1", 3, "inc-1")
    assert (shown.actor, shown.district, shown.classification) == ("急救", "西湖区", "INTERNAL")
    assert (microseconds(shown.occurred_at), microseconds(shown.recorded_at)) == (1_500_001, 2_000_000)
    inner = health.HospitalRegistered()
    assert shown.data.Unpack(inner)
    assert inner == HOSPITAL


def test_chinese_text_stays_readable_in_json() -> None:
    text = json_format.MessageToJson(outward(stored()), ensure_ascii=False)
    assert "浙江大学医学院附属第一医院" in text and "西湖区" in text


def test_what_was_stored_is_heard_as_it_was() -> None:
    assert decode(stored()) == hear(stored()).data == HOSPITAL


def test_an_event_is_as_open_as_its_contract_says() -> None:
    assert classification_of(type_name(traffic.RoadsPublished)) == CLASSIFICATION_PUBLIC
    assert classification_of(type_name(traffic.SignalRegistered)) == CLASSIFICATION_INTERNAL


def test_a_classification_that_a_later_release_has_is_shown_as_its_number() -> None:
    assert [outward(stored(classification=closed)).classification for closed in (3, 9)] == ["RESTRICTED", "9"]


def test_a_type_no_contract_has_is_an_error() -> None:
    with pytest.raises(KeyError):
        message_class("citybrain.nowhere.v1.Nothing")


@given(st.integers(-(10**15), 10**16))
def test_moments_come_back_to_the_microsecond(moment: int) -> None:
    assert microseconds(timestamp(moment)) == moment


@pytest.mark.parametrize(
    ("follow", "event", "wanted"),
    [
        (Follow("p"), stored(), True),
        (Follow("p"), stored(classification=CLASSIFICATION_RESTRICTED), False),
        (Follow("p"), stored(district=""), True),
        (Follow("p"), stored(district="拱墅区"), False),
        (Follow("p", recorded_from=2_000_000), stored(), True),
        (Follow("p", recorded_from=2_000_001), stored(), False),
        (Follow("p", concerns=lambda m: m == HOSPITAL), stored(), True),
        (Follow("p", concerns=lambda m: m != HOSPITAL), stored(), False),
    ],
)
def test_a_follower_sees_what_it_may_and_asked_for(follow: Follow, event: StoredEvent, wanted: bool) -> None:
    assert _wanted(follow, Call("", "", "", principal=CALLER), event) is wanted
