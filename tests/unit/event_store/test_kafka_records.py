"""An event as a record of Kafka, and where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from citybrain.event_store.contract import StoredEvent
from citybrain.event_store.kafka.cluster import BrokerError, Cluster
from citybrain.event_store.kafka.records import event_of, headers_of
from citybrain.event_store.kafka.topics import UNNAMED, partition_of, service_of, services_of

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
    with pytest.raises(ValueError, match="key"):
        event_of(record)  # type: ignore[arg-type]
    record = Record(EVENT)
    record.headers = list
    with pytest.raises(ValueError):
        event_of(record)  # type: ignore[arg-type]


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
