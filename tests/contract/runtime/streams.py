"""Streams: read when the method asks, written when the caller reads, bounded, ended with a word; and the log, live."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
from citybrain.probe.v1 import probe_service_pb2 as pb
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.contract.runtime.calls import ADMITTED
from tests.contract.runtime.probing import LIMIT_S, Probe, RuntimeContract, refusal, until

FILLING = 64 * 1024
MANY = 1000
STREAMS = 256
"""Open at once in one process."""


class StreamsContract(RuntimeContract):
    """See the module."""

    # -- the service streams --------------------------------------------------------------------------------------------

    def test_what_a_method_yields_arrives_in_order_and_then_the_stream_ends(self, shared: Probe) -> None:
        call = shared.stub.Count(pb.CountRequest(name="in order", to=500), timeout=LIMIT_S)
        assert [answer.number for answer in call] == list(range(1, 501))
        assert shared.until_notes("in order error", bool) == ["closed"]

    def test_a_method_that_yields_goes_on_only_as_its_caller_reads(self, shared: Probe) -> None:
        call = shared.stub.Count(pb.CountRequest(name="slow reader", to=MANY, size=FILLING), timeout=LIMIT_S)
        first = next(call).number
        made = shared.settled(lambda: len(shared.notes("slow reader")))
        assert first == 1 and made < MANY // 2
        assert [answer.number for answer in call] == list(range(2, MANY + 1))

    def test_an_error_in_the_middle_comes_after_what_was_sent_with_its_reason(self, shared: Probe) -> None:
        call = shared.stub.Count(pb.CountRequest(name="broken", to=9, fails_at=4), timeout=LIMIT_S)
        got: list[int] = []
        error = refusal(lambda: got.extend(answer.number for answer in call))
        info = error_details_pb2.ErrorInfo()
        assert rpc_status.from_call(error).details[0].Unpack(info)
        assert (got, error.code(), info.reason) == ([1, 2, 3], grpc.StatusCode.FAILED_PRECONDITION, "NO_FURTHER")

    def test_a_caller_that_cancels_ends_the_method_where_it_waits_and_closes_it(self, shared: Probe) -> None:
        call = shared.stub.Count(pb.CountRequest(name="left", to=MANY, size=FILLING), timeout=LIMIT_S)
        next(call)
        call.cancel()
        assert shared.until_notes("left error", lambda notes: "closed" in notes)[-1] == "closed"
        assert len(shared.notes("left")) < MANY

    def test_a_stream_whose_deadline_passes_is_closed(self, shared: Probe) -> None:
        call = shared.stub.Count(pb.CountRequest(name="too long", to=MANY, size=FILLING), timeout=0.5)
        next(call)
        assert shared.until_notes("too long error", lambda notes: "closed" in notes)[-1] == "closed"
        assert len(shared.notes("too long")) < MANY
        call.cancel()

    def test_a_request_against_its_rules_opens_no_stream(self, shared: Probe) -> None:
        error = refusal(lambda: next(shared.stub.Count(pb.CountRequest(to=1), timeout=LIMIT_S)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error.details().startswith("name: ")

    # -- the caller streams ---------------------------------------------------------------------------------------------

    def test_a_method_reads_what_its_caller_sends_and_answers_at_the_end(self, shared: Probe) -> None:
        sent = (pb.SumRequest(name="sum", number=number) for number in range(101))
        assert shared.stub.Sum(sent, timeout=LIMIT_S).sum == 5050

    def test_every_message_of_a_caller_is_checked_and_the_first_bad_one_ends_the_call(self, shared: Probe) -> None:
        sent = (pb.SumRequest(name="bad sum", number=number) for number in (1, 2, 1001, 3))
        error = refusal(lambda: shared.stub.Sum(sent, timeout=LIMIT_S))
        assert (error.code(), error.details()[:8]) == (grpc.StatusCode.INVALID_ARGUMENT, "number: ")
        assert shared.notes("bad sum") == ["1", "2"]

    def test_a_caller_that_goes_in_the_middle_ends_the_method_at_its_next_read(self, shared: Probe) -> None:
        talk = Talk(shared.stub.Sum.future)
        talk.say(pb.SumRequest(name="gone", number=1))
        shared.until_notes("gone", bool)
        talk.call.cancel()
        assert shared.until_notes("gone error", bool) == ["Cancelled"]
        talk.end()

    # -- both stream ----------------------------------------------------------------------------------------------------

    def test_both_may_speak_in_turns_and_the_method_hears_when_the_caller_has_no_more_to_say(self, shared: Probe) -> None:
        talk = Talk(shared.stub.Echo)
        for text in ("one", "two", "三"):
            talk.say(pb.EchoRequest(text=text))
            assert next(talk.call).text == text
        talk.end()
        assert [answer.text for answer in talk.call] == ["the end"]

    # -- how many -------------------------------------------------------------------------------------------------------

    def test_open_streams_take_no_place_of_a_call(self, shared: Probe) -> None:
        # Of two callers: one alone has a share of the streams that is smaller.
        callers = (partial(shared.stub.Echo, metadata=shared.known_as(caller)) for caller in ("one", "other"))
        talks = [Talk(echo) for echo in callers for _ in range(ADMITTED + 4)]
        for number, talk in enumerate(talks):
            talk.say(pb.EchoRequest(text=str(number)))
        assert [next(talk.call).text for talk in talks] == [str(number) for number in range(len(talks))]
        assert shared.do("hello") == "hello"
        for talk in talks:
            talk.end()
            assert [answer.text for answer in talk.call] == ["the end"]

    def test_one_caller_and_one_method_have_a_share_of_the_streams_and_may_come_again(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:

            def opened(caller: str) -> Any:
                return probe.stub.FollowWritten(pb.FollowWrittenRequest(), timeout=LIMIT_S, metadata=probe.known_as(caller))

            def refused(caller: str) -> str:
                error = refusal(lambda: next(opened(caller)))
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                return str(error.details())

            probe.write("k", "for all")
            one = [opened("one") for _ in range(STREAMS // 4)]
            for call in one:
                next(call)
            assert "this caller has its share" in refused("one")
            other = [opened("other") for _ in range(STREAMS // 4)]
            for call in other:
                next(call)
            # Half of them are open to one method: the others have theirs, and so have calls.
            assert "this method has its share" in refused("third")
            talk = Talk(partial(probe.stub.Echo, metadata=probe.known_as("third")))
            talk.say(pb.EchoRequest(text="here"))
            assert next(talk.call).text == "here"
            assert probe.do("hello") == "hello"
            talk.end()
            for call in one + other:
                call.cancel()
            assert follow(probe, 1, patient=True)[0]

    # -- the log --------------------------------------------------------------------------------------------------------

    def test_every_follower_gets_every_event(self, shared: Probe) -> None:
        calls = [shared.stub.FollowWritten(pb.FollowWrittenRequest(), timeout=LIMIT_S) for _ in range(ADMITTED + 8)]
        shared.write("followed", "by all")
        for call in calls:
            assert any(event.stream.endswith("followed") for answer in call for event in answer.events)
            call.cancel()

    def test_a_stream_goes_on_from_its_token_and_refuses_a_forged_one(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            probe.write("a", "1")
            first, token = follow(probe, 1)
            probe.write("b", "2")
            second, _ = follow(probe, 1, token)
            assert len(second) == 1
            assert first[-1] != second[0]
            error = refusal(lambda: follow(probe, 1, token[:-2] + "AA"))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

    def test_a_polite_stop_ends_streams_of_every_kind_with_a_word_and_the_process_cleanly(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            probe.write("k", "1")
            talk = Talk(probe.stub.Echo)
            talk.say(pb.EchoRequest(text="hello"))
            calls = [
                probe.stub.Count(pb.CountRequest(name="stopped", to=10**9, size=FILLING), timeout=LIMIT_S),
                probe.stub.FollowWritten(pb.FollowWrittenRequest(), timeout=LIMIT_S),
                talk.call,
            ]
            for call in calls:
                next(call)
            stopping: list[int] = []
            thread = threading.Thread(target=lambda: stopping.append(probe.running.stop()))
            thread.start()
            errors = [refusal(partial(list, call)) for call in calls]
            thread.join(LIMIT_S)
            assert stopping == [0]
            assert [error.code() for error in errors] == [grpc.StatusCode.UNAVAILABLE] * 3
            assert all("resume token" in error.details() for error in errors), [error.details() for error in errors]

    def test_a_stop_waits_for_a_follower_that_reads_late(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            call = probe.stub.Count(pb.CountRequest(name="late", to=10**9, size=FILLING), timeout=LIMIT_S)
            next(call)
            stopping: list[int] = []
            thread = threading.Thread(target=lambda: stopping.append(probe.running.stop()))
            thread.start()
            until(lambda: probe.running.log_path.read_text(), lambda text: "stopping" in text)
            assert not stopping
            error = refusal(lambda: list(call))
            thread.join(LIMIT_S)
            assert (error.code(), stopping) == (grpc.StatusCode.UNAVAILABLE, [0])
            assert "resume token" in error.details()


class Talk:
    """A call to which its caller has not said everything yet."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._say: SimpleQueue[Any] = SimpleQueue()
        self.call = method(self._said(), timeout=LIMIT_S)

    def say(self, message: Any) -> None:
        self._say.put(message)

    def end(self) -> None:
        self._say.put(None)

    def _said(self) -> Iterator[Any]:
        while (message := self._say.get()) is not None:
            yield message


def follow(probe: Probe, count: int, token: str = "", patient: bool = False) -> tuple[list[str], str]:
    """Event ids from a token on, at least so many, and the token behind them; `patient`: until there is a place."""
    while True:
        call = probe.stub.FollowWritten(pb.FollowWrittenRequest(resume_token=token), timeout=LIMIT_S)
        ids: list[str] = []
        try:
            for response in call:
                ids += [event.id for event in response.events]
                token = response.resume_token
                if len(ids) >= count:
                    call.cancel()
                    return ids, token
        except grpc.RpcError as error:
            if not patient or error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
