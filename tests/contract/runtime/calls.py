"""Unary calls: answered or refused with a reason, bounded, each in its own context; who gives up stops the work."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from citybrain.probe.v1 import probe_service_pb2 as pb
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.contract.runtime.probing import LIMIT_S, Probe, RuntimeContract, refusal

ADMITTED = 32
"""Calls of one service at once; as many again may wait."""
GARBAGE = b"\xff\xff\xff"


class CallsContract(RuntimeContract):
    """See the module."""

    def test_a_call_answers(self, shared: Probe) -> None:
        assert shared.do("hello") == "hello"

    def test_every_call_gets_an_instance_of_its_own(self, shared: Probe) -> None:
        assert [shared.do("instance") for _ in range(3)] == ["new"] * 3

    # -- what fails -----------------------------------------------------------------------------------------------------

    def test_an_unforeseen_error_is_internal_without_its_text_and_the_service_goes_on(self, shared: Probe) -> None:
        error = refusal(lambda: shared.do("fail"))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in error.details()
        assert shared.do("hello") == "hello"
        lines = shared.running.log_path.read_text(encoding="utf-8").splitlines()
        said = [json.loads(line) for line in lines if line.startswith("{")]
        failed = [line for line in said if line.get("message", line.get("event")) == "call failed"]
        assert any("probe_services.py" in line["exception"] and len(line["trace_id"]) == 32 for line in failed)
        assert "secret" not in "".join(line["error"] for line in failed)

    def test_an_error_in_a_provider_around_the_method_is_answered_and_the_service_goes_on(self, shared: Probe) -> None:
        for moment in ("when it is asked", "at setup"):
            error = refusal(partial(shared.do, f"provider breaks {moment}"))
            assert error.code() is grpc.StatusCode.INTERNAL, moment
            assert shared.do("hello") == "hello"

    def test_an_error_in_a_provider_after_the_answer_does_not_take_the_answer_back(self, shared: Probe) -> None:
        for moment in ("at result answered", "at teardown"):
            assert shared.do(f"provider breaks {moment}") == f"provider breaks {moment}"
            assert shared.do("hello") == "hello"

    def test_a_refusal_carries_its_reason_for_programs(self, shared: Probe) -> None:
        error = refusal(lambda: shared.do("refuse"))
        info = error_details_pb2.ErrorInfo()
        assert rpc_status.from_call(error).details[0].Unpack(info)
        assert (error.code(), info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_NOW")

    def test_a_request_against_its_rules_names_every_field_and_is_not_carried_out(self, shared: Probe) -> None:
        error = refusal(lambda: shared.stub.Write(pb.WriteRequest(text="x" * 501)))
        bad = error_details_pb2.BadRequest()
        assert rpc_status.from_call(error).details[0].Unpack(bad)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [v.field for v in bad.field_violations] == ["key", "text"]

    # -- who gives up ---------------------------------------------------------------------------------------------------

    def test_bytes_that_are_no_message_are_refused_as_such_by_every_kind_of_method(self, shared: Probe) -> None:
        ours, health = "/citybrain.probe.v1.ProbeService", "/grpc.health.v1.Health"
        reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        known: Any = [("x-request-id", "wish-8")]
        one: Any = shared.channel.unary_unary
        many: Any = shared.channel.unary_stream
        told: Any = shared.channel.stream_unary
        both: Any = shared.channel.stream_stream
        calls: list[Callable[[], object]] = [
            lambda: one(f"{ours}/Do")(GARBAGE, metadata=known, timeout=LIMIT_S),
            lambda: list(many(f"{ours}/Count")(GARBAGE, metadata=known, timeout=LIMIT_S)),
            lambda: list(many(f"{ours}/FollowWritten")(GARBAGE, metadata=known, timeout=LIMIT_S)),
            lambda: told(f"{ours}/Sum")(iter([GARBAGE]), metadata=known, timeout=LIMIT_S),
            lambda: list(both(f"{ours}/Echo")(iter([GARBAGE]), metadata=known, timeout=LIMIT_S)),
            lambda: one("/citybrain.mesh.v1.MeshService/ListParked")(GARBAGE, metadata=known, timeout=LIMIT_S),
            lambda: one(f"{health}/Check")(GARBAGE, metadata=known, timeout=LIMIT_S),
            lambda: one(f"{health}/List")(GARBAGE, metadata=known, timeout=LIMIT_S),
            lambda: list(many(f"{health}/Watch")(GARBAGE, metadata=known, timeout=LIMIT_S)),
            lambda: list(both(reflection)(iter([GARBAGE]), metadata=known, timeout=LIMIT_S)),
        ]
        for number, call in enumerate(calls):
            error = refusal(call)
            violations, which = error_details_pb2.BadRequest(), error_details_pb2.RequestInfo()
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, f"{number}: {error.details()}"
            details = rpc_status.from_call(error).details
            assert details[0].Unpack(violations) and details[-1].Unpack(which), number
            assert which.request_id == "wish-8", number
            assert "cannot be read" in error.details() and "class" not in error.details()

    def test_an_error_says_which_request_it_was_and_overload_when_to_come_again(self, shared: Probe) -> None:
        error = refusal(lambda: shared.do("refuse", metadata=[("x-request-id", "wish-7" * 100)]))
        info, again = error_details_pb2.RequestInfo(), error_details_pb2.RetryInfo()
        assert rpc_status.from_call(error).details[-1].Unpack(info)
        assert info.request_id.startswith("wish-7wish-7") and len(info.request_id) <= 200
        assert not any(detail.Unpack(again) for detail in rpc_status.from_call(error).details)
        sleepers = [shared.stub.Do.future(pb.DoRequest(how="sleep:0.5"), timeout=LIMIT_S) for _ in range(ADMITTED * 4)]
        refused = [call for call in sleepers if call.exception() is not None]
        assert refused
        for call in refused:
            assert any(detail.Unpack(again) for detail in rpc_status.from_call(call).details)
            assert again.retry_delay.seconds == 1 and dict(call.trailing_metadata())["retry-after"] == "1"

    def test_an_answer_that_comes_after_the_callers_deadline_does_not_end_the_service(self, shared: Probe) -> None:
        for _ in range(3):
            error = refusal(lambda: shared.do("sleep:0.3", timeout=0.1))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert shared.do("sleep:0.4") == "sleep:0.4"

    def test_a_caller_that_cancels_stops_the_work_at_its_next_wait(self, shared: Probe) -> None:
        call = shared.stub.Do.future(pb.DoRequest(how="steps", name="cancelled"), timeout=LIMIT_S)
        shared.until_notes("cancelled", bool)
        call.cancel()
        assert shared.until_notes("cancelled", lambda notes: notes[-1] != "step")[-1] == "Cancelled"

    def test_a_caller_that_cancels_stops_what_its_work_has_called_too(self, shared: Probe) -> None:
        call = shared.stub.Do.future(pb.DoRequest(how="have it done", name="boss"), timeout=LIMIT_S)
        shared.until_notes("boss inner", bool)
        call.cancel()
        assert shared.until_notes("boss", bool) == ["Cancelled"]
        assert shared.until_notes("boss inner", lambda notes: notes[-1] != "step")[-1] == "Cancelled"

    def test_a_deadline_that_passes_stops_the_work_and_what_it_has_called(self, shared: Probe) -> None:
        error = refusal(lambda: shared.do("have it done", "late boss", timeout=0.5))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        ended = {"DeadlinePassed", "Cancelled", "CallFailed"}
        assert set(shared.until_notes("late boss", bool)) <= ended
        assert shared.until_notes("late boss inner", lambda notes: notes[-1] != "step")[-1] in ended

    def test_the_callers_deadline_reaches_the_service_and_every_call_it_makes(self, shared: Probe) -> None:
        outer, inner = map(float, shared.do("deadlines", timeout=3).split())
        assert 0 < inner <= outer + 1 < 5  # gRPC rounds up on its way

    # -- context --------------------------------------------------------------------------------------------------------

    def test_every_concurrent_call_keeps_its_own_context_in_the_worker_and_in_the_call_it_makes(self, shared: Probe) -> None:
        def one(number: int) -> tuple[str, str]:
            trace = f"{number + 1:032x}"
            metadata = [
                ("x-request-id", f"r{number}"),
                *shared.from_service(f"c{number}"),
                ("traceparent", f"00-{trace}-{'1' * 16}-01"),
                ("baggage", f"incident.id=inc-{number}"),
            ]
            expected = f"service:c{number}|r{number}|inc-{number}|{trace}|r{number}|service:probe|inc-{number}|{trace}"
            return shared.do("context", metadata=metadata), expected

        with ThreadPoolExecutor(20) as pool:
            for got, expected in pool.map(one, range(20)):
                assert got == expected

    def test_to_which_incident_a_call_belongs_is_believed_from_services_only(self, shared: Probe) -> None:
        told = [("x-request-id", "said"), ("baggage", "incident.id=inc-1"), ("x-caller", "sagas")]
        outside = shared.do("context", metadata=[*shared.known_as("zhang"), *told]).split("|")
        inside = shared.do("context", metadata=[*shared.from_service("sagas"), *told]).split("|")
        assert outside[:3] == ["zhang", "said", ""]
        assert inside[:3] == ["service:sagas", "said", "inc-1"]

    def test_the_trace_of_a_caller_from_outside_is_not_continued(self, shared: Probe) -> None:
        trace = "c" * 32
        told = [("traceparent", f"00-{trace}-{'1' * 16}-00"), ("tracestate", "x"), ("baggage", "incident.id=inc-1")]
        outside = shared.do("context", metadata=[*shared.known_as("zhang", scopes=["probe"]), *told]).split("|")
        inside = shared.do("context", metadata=[*shared.from_service("sagas"), *told]).split("|")
        assert (outside[0], outside[2]) == ("zhang", "") and outside[3] == outside[7] and outside[3] not in (trace, "0" * 32)
        assert inside[3] == inside[7] == trace

    def test_heavy_work_runs_beside_the_other_calls(self, shared: Probe) -> None:
        assert shared.do("thread") == "apart"

    # -- admission ------------------------------------------------------------------------------------------------------

    def test_more_calls_than_it_admits_are_refused_at_once_and_the_others_are_answered(self, shared: Probe) -> None:
        many, neighbour = ADMITTED * 4, shared.from_service("neighbour")

        def one(_: int) -> str:
            try:
                return shared.do("sleep:0.1", metadata=neighbour)
            except grpc.RpcError as error:
                return str(error.code().name)

        with ThreadPoolExecutor(many) as pool:
            answers = list(pool.map(one, range(many)))
        assert set(answers) == {"sleep:0.1", "RESOURCE_EXHAUSTED"}
        assert answers.count("sleep:0.1") >= ADMITTED * 2
        assert shared.do("hello") == "hello"

    # -- commands -------------------------------------------------------------------------------------------------------

    def test_the_same_request_id_twice_writes_once_and_another_one_writes_again(self, shared: Probe) -> None:
        assert [shared.write("twice", "once", id) for id in ("t1", "t1", "t2", "t1")] == [1, 1, 2, 1]

    def test_after_a_kill_everything_acknowledged_is_there_and_a_retry_is_answered_as_before(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            assert [probe.write("k", f"t{n}", f"r{n}") for n in range(20)] == list(range(1, 21))
            probe.running.kill()
            probe.again()
            assert probe.write("k", "t7", "r7") == 8
            assert probe.write("k", "new", "new") == 21
