"""The audit trail over the network: in pages, by what is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from citybrain.audit.v1 import audit_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.audit.entries import Entry
from citybrain.mesh.audit.trail import ChainedTrail
from citybrain.mesh.errors import BadRequest
from citybrain.mesh.testing import Running, running
from citybrain.mesh.testing.parts import greenlets
from citybrain.services.audit.service import AuditService

WANG = Entry(subject="wang", method="citybrain.health.v1.HealthService/ReserveBed", persons=("per-1",))
LI = Entry(subject="li", method="citybrain.health.v1.HealthService/ListBeds", allowed=False, code="PERMISSION_DENIED")


@pytest.fixture
def audit() -> Iterator[Running]:
    with running(AuditService) as audit:
        yield audit


def write(audit: Running, *entries: Entry, batches: int = 1) -> None:
    """Writes records as a process does, each time the same in a batch of their own."""

    async def work() -> None:
        trail = ChainedTrail(audit.parts.store, lambda: 1)
        for _ in range(batches):
            for entry in entries[:-1]:
                trail.note(entry)
            await trail.keep(entries[-1])
        await trail.close()

    greenlets().do(work())


def listed(audit: Running, **asked: object) -> list[list[str]]:
    """The request ids on each page."""
    pages, token = [], ""
    while True:
        page = audit.fire("ListRecords", pb.ListRecordsRequest(page_token=token, **asked))  # type: ignore[arg-type]
        pages.append([record.request_id for record in page.records])
        token = page.next_page_token
        if not token:
            return pages


def test_records_come_in_pages_across_batches_and_none_twice(audit: Running) -> None:
    write(audit, *(replace(WANG, request_id=str(number)) for number in range(7)))
    write(audit, *(replace(WANG, request_id=str(number)) for number in range(7, 10)))
    assert listed(audit, page_size=4) == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
    assert listed(audit, page_size=5) == [["0", "1", "2", "3", "4"], ["5", "6", "7", "8", "9"]]
    assert listed(audit) == [[str(number) for number in range(10)]]


def test_records_that_come_between_two_pages_shift_nothing(audit: Running) -> None:
    write(audit, *(replace(WANG, request_id=str(number)) for number in range(3)))
    first = audit.fire("ListRecords", pb.ListRecordsRequest(page_size=2))
    write(audit, replace(LI, request_id="new"))
    second = audit.fire("ListRecords", pb.ListRecordsRequest(page_size=2, page_token=first.next_page_token))
    assert [record.request_id for record in second.records] == ["2", "new"]


def test_only_what_is_asked_for_is_listed(audit: Running) -> None:
    write(audit, replace(WANG, request_id="w"), replace(LI, request_id="l"))
    assert listed(audit, subject="wang") == listed(audit, person_id="per-1") == listed(audit, method="ReserveBed") == [["w"]]
    assert listed(audit, refused=True) == listed(audit, method="HealthService/ListBeds") == [["l"]]
    assert listed(audit, subject="wang", refused=True) == [[]]
    later, earlier = Timestamp(), Timestamp()
    later.FromDatetime(datetime(2200, 1, 1, tzinfo=UTC))
    earlier.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
    assert (listed(audit, since=later), listed(audit, since=earlier)) == ([[]], [["w", "l"]])


def test_a_long_search_comes_in_parts(audit: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.mesh.providers.auditing._PARTS", 1)
    monkeypatch.setattr("citybrain.mesh.audit.reading._PAGE", 3)
    write(audit, WANG, batches=7)
    write(audit, replace(LI, request_id="found"))
    pages = listed(audit, subject="li")
    assert len(pages) > 2 and [one for page in pages for one in page] == ["found"]


def test_a_token_of_another_question_is_refused(audit: Running) -> None:
    write(audit, WANG, LI)
    token = audit.fire("ListRecords", pb.ListRecordsRequest(page_size=1)).next_page_token
    with pytest.raises(BadRequest):
        audit.fire("ListRecords", pb.ListRecordsRequest(page_size=1, page_token=token, subject="li"))


def test_a_process_that_waits_for_a_call_and_a_trail_that_is_written_disturb_nobody(audit: Running) -> None:
    async def beside() -> None:
        trail = ChainedTrail(audit.parts.store, lambda: 1)
        await asyncio.gather(*(trail.keep(WANG) for _ in range(20)))
        await trail.close()

    greenlets().do(beside())
    audit.rest()
