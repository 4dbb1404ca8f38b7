"""The kit on its real runtime: greenlets over one asyncio loop with grpc.aio. Each test is a trap somebody fell into."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from citybrain.mesh.child import MeshChild

WORKERS = 32


def ask(channel: grpc.Channel, how: str, timeout: float = 30, metadata: list[tuple[str, str]] | None = None) -> str:
    response = TrafficServiceStub(channel).GetSignal(pb.GetSignalRequest(signal_id=how), timeout=timeout, metadata=metadata)
    return str(response.held_for)


def test_a_call_answers(channel: grpc.Channel) -> None:
    assert ask(channel, "hello") == "hello"


def test_an_answer_that_comes_after_the_callers_deadline_does_not_end_the_service(channel: grpc.Channel) -> None:
    for _ in range(3):
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, "sleep:0.3", timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ask(channel, "sleep:0.4") == "sleep"


def test_a_caller_that_cancels_does_not_end_the_service(channel: grpc.Channel) -> None:
    call = TrafficServiceStub(channel).GetSignal.future(pb.GetSignalRequest(signal_id="sleep:0.3"), timeout=30)
    call.cancel()
    assert ask(channel, "sleep:0.4") == "sleep"


def test_an_unforeseen_error_is_internal_without_its_text_and_the_service_goes_on(
    channel: grpc.Channel, trap: MeshChild
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, "fail")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    assert ask(channel, "hello") == "hello"
    lines = [json.loads(line) for line in trap.log_path.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    (failed,) = [line for line in lines if line.get("message", line.get("event")) == "call failed"]
    assert "a secret of the inside" in failed["error"]
    assert len(failed["trace_id"]) == 32


def test_an_error_in_a_provider_around_the_method_is_answered_and_the_service_goes_on(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, "provider breaks")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert ask(channel, "hello") == "hello"


def test_a_refusal_carries_its_reason_for_programs(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, "refuse")
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_NOW")


def test_a_request_against_its_rules_names_every_field_and_is_not_carried_out(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        TrafficServiceStub(channel).ReportSignal(pb.ReportSignalRequest(state="x" * 501))
    bad = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[0].Unpack(bad)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [v.field for v in bad.field_violations] == ["signal_id", "command_id", "report", "state"]


def test_every_concurrent_call_keeps_its_own_context_in_the_worker_and_in_the_call_it_makes(channel: grpc.Channel) -> None:
    def one(number: int) -> tuple[str, str]:
        trace = f"{number + 1:032x}"
        metadata = [
            ("x-request-id", f"r{number}"),
            ("x-caller", f"c{number}"),
            ("traceparent", f"00-{trace}-{'1' * 16}-01"),
            ("baggage", f"incident.id=inc-{number}"),
        ]
        expected = f"c{number}|r{number}|inc-{number}|{trace}|r{number}|trap|inc-{number}|{trace}"
        return ask(channel, "context", metadata=metadata), expected

    with ThreadPoolExecutor(20) as pool:
        for got, expected in pool.map(one, range(20)):
            assert got == expected


def test_the_callers_deadline_reaches_the_service(channel: grpc.Channel) -> None:
    assert 0 < float(ask(channel, "deadline", timeout=7)) < 8  # gRPC rounds it up


def test_heavy_work_runs_beside_the_loop(channel: grpc.Channel) -> None:
    assert ask(channel, "thread") == "apart"


def test_more_calls_than_it_admits_are_refused_at_once_and_the_others_are_answered(channel: grpc.Channel) -> None:
    many = WORKERS * 4

    def one(_: int) -> str:
        try:
            return ask(channel, "sleep:0.1")
        except grpc.RpcError as error:
            return str(error.code().name)

    with ThreadPoolExecutor(many) as pool:
        answers = list(pool.map(one, range(many)))
    assert set(answers) == {"sleep", "RESOURCE_EXHAUSTED"}
    assert answers.count("sleep") >= WORKERS * 2
    assert ask(channel, "hello") == "hello"


def test_open_streams_take_no_worker_and_each_gets_every_event(channel: grpc.Channel) -> None:
    stub = TrafficServiceStub(channel)
    streams = [stub.FollowSignalCommands(pb.FollowSignalCommandsRequest(), timeout=60) for _ in range(WORKERS + 8)]
    threads = []
    first: list[str] = []

    def read(stream: object) -> None:
        first.append(next(stream).events[0].type)  # type: ignore[call-overload]

    for stream in streams:
        threads.append(threading.Thread(target=read, args=(stream,)))
        threads[-1].start()
    report(channel, "s1", "r1")
    for thread in threads:
        thread.join(60)
    assert first == ["citybrain.traffic.v1.SignalReported"] * len(streams)
    for stream in streams:
        stream.cancel()


def report(channel: grpc.Channel, signal: str, request_id: str) -> None:
    request = pb.ReportSignalRequest(signal_id=signal, command_id="c", report=pb.SIGNAL_REPORT_STARTED)
    TrafficServiceStub(channel).ReportSignal(request, timeout=30, metadata=[("x-request-id", request_id)])


def follow(channel: grpc.Channel, count: int, token: str = "", signal: str = "") -> tuple[list[str], str]:
    """Event ids from the token on, at least `count`, and the token behind them; of one signal where one is given."""
    call = TrafficServiceStub(channel).FollowSignalCommands(pb.FollowSignalCommandsRequest(resume_token=token), timeout=60)
    ids: list[str] = []
    for response in call:
        ids += [event.id for event in response.events if event.stream.endswith(signal)]
        token = response.resume_token
        if len(ids) >= count:
            call.cancel()
            return ids, token
    raise AssertionError("the stream ended")


def test_the_same_request_id_twice_writes_once_and_another_one_writes_again(channel: grpc.Channel) -> None:
    for request_id in ("t1", "t1", "t2", "t1"):
        report(channel, "twice", request_id)
    ids, _ = follow(channel, 2, signal="twice")
    assert len(set(ids)) == 2


def test_a_stream_goes_on_from_its_token_and_refuses_a_forged_one(channel: grpc.Channel) -> None:
    report(channel, "resumed-1", "u1")
    first, token = follow(channel, 1, signal="resumed-1")
    report(channel, "resumed-2", "u2")
    second, _ = follow(channel, 1, token)
    assert len(second) == 1
    assert first[-1] != second[0]
    with pytest.raises(grpc.RpcError) as caught:
        follow(channel, 1, token[:-2] + "AA")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_polite_stop_ends_streams_with_a_word_and_exits_cleanly(own_channel: grpc.Channel, own_trap: MeshChild) -> None:
    report(own_channel, "s1", "r1")
    call = TrafficServiceStub(own_channel).FollowSignalCommands(pb.FollowSignalCommandsRequest(), timeout=60)
    next(call)
    stopping: list[int] = []
    thread = threading.Thread(target=lambda: stopping.append(own_trap.stop()))
    thread.start()
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    thread.join(60)
    assert (caught.value.code(), stopping) == (grpc.StatusCode.UNAVAILABLE, [0])
    assert "resume token" in caught.value.details()


def test_after_a_kill_everything_acknowledged_is_there_and_a_retry_is_answered_as_before(
    own_channel: grpc.Channel, own_trap: MeshChild
) -> None:
    for n in range(20):
        report(own_channel, "s1", f"r{n}")
    before, _ = follow(own_channel, 20)
    own_trap.kill()
    own_trap.start()
    with grpc.insecure_channel(own_trap.address) as again:
        grpc.channel_ready_future(again).result(30)
        report(again, "s1", "r7")
        report(again, "s1", "new")
        after, _ = follow(again, 21)
    assert after[:20] == before
    assert len(after) == 21


def test_a_taken_port_is_one_clear_line(trap: MeshChild) -> None:
    from citybrain.mesh.child import ChildError

    second = MeshChild(trap.log_path.parent / "second", ["sagas"])
    second.address = trap.address
    with pytest.raises(ChildError, match="is taken: stop what uses it, or choose another port"):
        second.start()
