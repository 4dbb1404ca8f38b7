"""What of a call is recorded, and when: before the answer if it is about persons or secrets, and refusals too."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from citybrain.probe.v1 import guarded_pb2 as pb

from citybrain.mesh.audit.entries import Entry
from citybrain.mesh.settings.values import OwnQuota, Quotas
from tests.unit.mesh.access.test_guard import GUARDED, WHOLE, Door, Guarded, on_door

SHOW = f"{GUARDED}/Show"


def entries(door: Door, method: str = SHOW) -> list[Entry]:
    return [entry for entry in door.parts.trail.entries if entry.method == method]


def test_a_call_is_recorded_with_who_for_whom_what_under_which_id_and_in_which_trace(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        caller = door.parts.bearer("zhang", team="desk", scopes=["guarded.read", "traces.continue"], clearance="INTERNAL")
        trace = "0af7651916cd43dd8448eb211c80319c"
        door.ask("Show", WHOLE, caller, ("x-request-id", "r1"), ("traceparent", f"00-{trace}-b7ad6b7169203331-01"))
        (entry,) = entries(door)
        assert (entry.subject, entry.team, entry.on_behalf_of) == ("zhang", "desk", "")
        assert (entry.allowed, entry.code, entry.request_id, entry.trace_id) == (True, "OK", "r1", trace)
        # It was shown nothing of a person.
        assert (entry.persons, entry.classification) == ((), 1)
        door.ask("Show", WHOLE, door.parts.bearer("li", actor="sagas"))
        assert [(e.subject, e.on_behalf_of) for e in entries(door)][1] == ("service:sagas", "li")

    on_door(tmp_path, test)


@pytest.mark.parametrize("method", ["Show", "Follow"])
def test_whose_data_was_shown_is_durable_before_the_answer_and_without_that_there_is_no_answer(
    tmp_path: Path, method: str
) -> None:
    def test(door: Door) -> None:
        kept = door.parts.trail.kept
        assert not isinstance(door.ask(method, WHOLE, door.parts.bearer("zhang")), grpc.RpcError)
        assert [(entry.persons, entry.classification) for entry in kept][:1] == [(("per-1",), 3)]
        assert len(kept) == (2 if method == "Follow" else 1)
        door.parts.trail.away = "the disk is full"
        before = len(Guarded.called)
        error = door.ask(method, WHOLE, door.parts.bearer("zhang"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE and "the disk is full" in error.details()
        # It was not even begun.
        assert len(Guarded.called) == before

    on_door(tmp_path, test)


def test_what_is_secret_is_durable_before_the_answer_too(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        door.ask("ShowSecret", WHOLE, door.parts.bearer("zhang"))
        assert [entry.classification for entry in door.parts.trail.kept] == [4]

    on_door(tmp_path, test)


def test_a_call_over_the_quota_reaches_no_service_and_is_recorded_as_refused(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        door.parts.process.quotas._configured = Quotas(subjects={"zhang": OwnQuota(read=1, command=1, stream=1)})
        for method in ("Show", "Follow"):
            door.ask(method, WHOLE, door.parts.bearer("zhang"))
            door.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_USED", method, WHOLE, door.parts.bearer("zhang"))
            # A refusal is recorded a moment after it was sent.
            door.parts.until(lambda: entries(door, f"{GUARDED}/{method}")[-1].code != "OK")  # noqa: B023
            first, *_, last = entries(door, f"{GUARDED}/{method}")
            assert (first.allowed, first.code) == (True, "OK")
            assert (last.allowed, last.code, last.reason) == (False, "RESOURCE_EXHAUSTED", "QUOTA_USED")

    on_door(tmp_path, test)


def test_calls_that_were_refused_are_recorded_with_the_reason(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        desk = door.parts.bearer("desk", district="gongshu")
        door.ask("Show", WHOLE)
        door.ask("Show", WHOLE, door.parts.bearer("zhang", scopes=["other.read"]))
        door.ask("Show", pb.ShowRequest(district_id="xihu"), desk)
        # A refusal is recorded a moment after it was sent.
        door.parts.until(lambda: len(entries(door)) == 3)
        told = [(entry.subject, entry.allowed, entry.code, entry.reason) for entry in entries(door)]
        assert told == [
            ("nobody", False, "UNAUTHENTICATED", "NO_TOKEN"),
            ("zhang", False, "PERMISSION_DENIED", "NO_SCOPE"),
            ("desk", False, "PERMISSION_DENIED", "OTHER_DISTRICT"),
        ]

    on_door(tmp_path, test)


def test_a_stream_is_recorded_when_it_opens(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        open_answer = pb.ShowRequest(answer=pb.ShowResponse(open="o"))
        door.ask("Follow", open_answer, door.parts.bearer("zhang"))
        assert [(entry.subject, entry.code) for entry in entries(door, f"{GUARDED}/Follow")] == [("zhang", "OK")]

    on_door(tmp_path, test)


def test_what_a_service_refuses_is_recorded_with_its_reason(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        too_long = pb.ShowRequest(district_id="x" * 100)
        assert door.ask("Show", too_long, door.parts.bearer("zhang")).code() is grpc.StatusCode.INVALID_ARGUMENT
        # A refusal is recorded a moment after the caller has it.
        door.parts.until(lambda: bool(entries(door)))
        assert [(one.allowed, one.code, one.reason) for one in entries(door)] == [(True, "INVALID_ARGUMENT", "BAD_REQUEST")]

    on_door(tmp_path, test)
