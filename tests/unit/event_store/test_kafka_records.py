"""An event as a record of Kafka, and where it belongs."""

from __future__ import annotations

import re
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from citybrain.event_store.kafka.cluster import BrokerError, Cluster
from citybrain.event_store.kafka.readings import _batch_of
from citybrain.event_store.kafka.records import Refused, event_of, headers_of, unreadable
from citybrain.event_store.kafka.topics import UNNAMED, partition_of, service_of, services_of
from citybrain.event_store.limits import FIRST_MOMENT, LAST_MOMENT
from citybrain.event_store.store import StoredEvent

EVENT = StoredEvent(
    "e1", "citybrain.health.v1.AmbulanceReserved", b"\x00data", 1_764_000_000_123_456, "00-a-b-01", "story", "cause", "desk 1",
    "西湖", 3, "health/ambulance-1", 7, 1_764_000_001_654_321, 42, b"\xff\x00sealed",
)  # fmt: skip


class Record:
    """What Kafka hands out."""

    def __init__(self, event: StoredEvent, key: bytes | None = b"health/ambulance-1") -> None:
        self.headers = lambda: headers_of(event)
        self.key = lambda: key
        self.value = lambda: event.data
        self.offset = lambda: 41
        self.topic = lambda: "city.health.events"
        self.partition = lambda: 2


def test_an_event_comes_out_of_its_record_as_it_went_in() -> None:
    assert event_of(Record(EVENT)) == EVENT  # type: ignore[arg-type]
    bare = EVENT._replace(traceparent="", correlation_id="", causation_id="", actor="", district="", sealed=b"", data=b"")
    assert event_of(Record(bare)) == bare  # type: ignore[arg-type]
    assert len(headers_of(bare)) < len(headers_of(EVENT)), "what is empty is not sent"


def test_a_record_is_a_cloudevent_in_binary_mode() -> None:
    headers = dict(headers_of(EVENT))
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == b"e1"
    assert headers["ce_source"] == b"/health/ambulance-1"
    assert headers["ce_type"] == b"citybrain.health.v1.AmbulanceReserved"
    assert headers["ce_time"] == b"2025-11-24T16:00:00.123456+00:00"
    assert headers["content-type"] == b"application/protobuf"
    attributes = [name.removeprefix("ce_") for name in headers if name != "content-type"]
    assert all(name.isascii() and name.isalnum() and name.islower() for name in attributes), "names that CloudEvents allows"


def test_a_record_that_is_no_event_is_refused() -> None:
    record = Record(EVENT, key=None)
    with pytest.raises(Refused, match="it has no key"):
        event_of(record)  # type: ignore[arg-type]
    record = Record(EVENT)
    record.headers = list
    with pytest.raises(Refused, match="header ce_id is missing"):
        event_of(record)  # type: ignore[arg-type]


TEXT = st.text(max_size=40) | st.integers().map(str)
HEADER = st.none() | st.binary(max_size=40) | TEXT.map(str.encode)
ZONES = st.none() | st.sampled_from([timezone(timedelta(minutes=m)) for m in (-1439, -300, 0, 480, 1439)])
MOMENT = st.datetimes(timezones=ZONES).map(lambda moment: moment.isoformat().encode())
NAMES = [name for name, _ in headers_of(EVENT)]


@given(
    st.dictionaries(st.sampled_from(NAMES), HEADER | MOMENT), st.sets(st.sampled_from(NAMES), max_size=3),
    st.just(b"health/ambulance-1") | st.none() | st.binary(max_size=300), st.none() | st.binary(max_size=40), st.booleans(),
)  # fmt: skip
@example({"ce_recordedtime": b"0001-01-01T00:00:00+23:59"}, set(), b"health/ambulance-1", b"", False)
def test_whatever_stands_in_a_record_is_an_event_or_is_refused_with_a_reason_that_quotes_nothing(
    spoilt: dict[str, bytes | None], missing: set[str], key: bytes | None, value: bytes | None, headless: bool
) -> None:
    record = Record(EVENT, key)
    headers: dict[str, bytes | None] = {**dict(headers_of(EVENT)), **spoilt}
    found = None if headless else [(name, text) for name, text in headers.items() if name not in missing]
    record.headers, record.value = lambda: found, lambda: value  # type: ignore[assignment, return-value]
    try:
        event = event_of(record)  # type: ignore[arg-type]
    except Refused as error:
        assert REASON.fullmatch(str(error)), str(error)
    else:
        # What is taken for an event can be written again, and says the same.
        assert event_of(Record(event, event.stream.encode())) == event  # type: ignore[arg-type]
    aside = unreadable(record, "")  # type: ignore[arg-type]
    assert aside.position == 42
    assert re.fullmatch(r"[A-Za-z0-9_.]*", aside.type)


# Names of headers and of fields, and figures of ours.
REASON = re.compile(
    r"it has no value, as what is to be deleted has none|it has no key, which names the stream|its key is no text"
    r"|header ce_[a-z]+ (is missing|has no value|is not UTF-8|is below 1|is no [a-zA-Z0-9 ]+)"
    r"|a stream id (has 1 to 200 bytes|begins with the name of its service \(a-z, 0-9, _ and -, at most 100\), or has no slash)"
    r"|[a-z_]+ of an event (has at most 1024 bytes|may not be empty|is a number from 0 to 127)"
)


@given(HEADER | MOMENT, st.none() | st.binary(max_size=40), st.booleans())
def test_whatever_stands_in_a_record_of_readings_is_a_batch_or_is_refused(
    received: bytes | None, value: bytes | None, headless: bool
) -> None:
    record = Record(EVENT)
    record.headers = lambda: [] if headless else [("city_receivedat", received)]  # type: ignore[list-item]
    record.value = lambda: value  # type: ignore[assignment, return-value]
    try:
        batch = _batch_of(record)  # type: ignore[arg-type]
    except Refused:
        return
    assert (batch.position, batch.data) == (42, value)
    assert FIRST_MOMENT <= batch.received_at <= LAST_MOMENT


def test_a_stream_stays_in_its_partition_in_every_release() -> None:
    # Written down once: another result loses the order of every stream that moves.
    assert [partition_of(f"health/ambulance-{n}", 16) for n in range(8)] == [13, 3, 3, 2, 4, 15, 5, 14]
    assert partition_of("西湖/区", 16) == 5
    assert {partition_of(f"s/{n}", 4) for n in range(100)} == {0, 1, 2, 3}


def test_the_service_is_the_first_part_of_a_stream_and_stands_in_the_types_it_publishes() -> None:
    assert service_of("district_hub/district-xihu") == "district_hub"
    assert service_of("alone") == UNNAMED
    assert services_of(["citybrain.health.v1.A", "citybrain.traffic.v2.B", "citybrain.health.v1.C"]) == {"health", "traffic"}
    assert services_of(["citybrain.health.v1.A", "city.Tested"]) is None


def test_a_cluster_that_asks_for_a_password_without_a_file_says_what_to_do() -> None:
    cluster = Cluster("127.0.0.1:1", tls=True, sasl_mechanism="SCRAM-SHA-512", user="city")
    with pytest.raises(BrokerError, match="write it into a file"):
        cluster.options()


def test_how_to_be_let_in_reaches_the_client(tmp_path: Path) -> None:
    password, authorities = tmp_path / "password", tmp_path / "ca.pem"
    password.write_text("secret\n")
    cluster = Cluster(
        "a:9093,b:9093", tls=True, authorities=authorities, sasl_mechanism="SCRAM-SHA-512", user="city", password_file=password
    )
    options = cluster.options({"group.id": "g"})
    assert options["bootstrap.servers"] == "a:9093,b:9093"
    assert options["security.protocol"] == "SASL_SSL"
    assert options["ssl.ca.location"] == str(authorities)
    assert (options["sasl.username"], options["sasl.password"]) == ("city", "secret")
    assert options["group.id"] == "g"
    assert Cluster("a:9092").options()["security.protocol"] == "PLAINTEXT"
    assert Cluster("a:9092", tls=True).options()["security.protocol"] == "SSL"
