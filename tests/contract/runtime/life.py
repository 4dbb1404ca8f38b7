"""The life of a worker and of a process: providers around each call, a port that is taken, a stop that loses nothing."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import grpc
import pytest
from citybrain.probe.v1 import probe_service_pb2 as pb

from tests.contract.runtime.probing import LIMIT_S, Probe, RuntimeContract, refusal


class LifeContract(RuntimeContract):
    """See the module."""

    def test_providers_are_set_up_once_and_stand_around_every_call(self, shared: Probe) -> None:
        assert shared.do("life") == "life"
        refusal(lambda: shared.do("life fails"))
        around = ["setup", "result answered", "teardown", "setup", "result failed", "teardown"]
        assert shared.until_notes("life", lambda notes: len(notes) >= 6) == around
        assert shared.notes("provider") == ["setup", "start"]

    def test_providers_stand_around_a_stream_until_its_end(self, shared: Probe) -> None:
        call = shared.stub.Count(pb.CountRequest(name="lifelong", to=1000, size=64 * 1024), timeout=LIMIT_S)
        next(call)
        assert shared.notes("lifelong providers") == ["setup"]
        assert len(list(call)) == 999
        assert shared.until_notes("lifelong providers", lambda notes: len(notes) >= 3) == [
            "setup",
            "result answered",
            "teardown",
        ]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_both_ways_of_asking_a_process_to_stop_answer_what_was_begun(self, tmp_path: Path, number: signal.Signals) -> None:
        with self.probe(tmp_path / "data") as probe:
            call = probe.stub.Do.future(pb.DoRequest(how="sleep:0.5"), timeout=LIMIT_S)
            stepping = probe.stub.Do.future(pb.DoRequest(how="steps", name="begun"), timeout=LIMIT_S)
            probe.until_notes("begun", bool)
            stepping.cancel()
            os.kill(probe.running.pid, number)
            assert call.result().text == "sleep:0.5"
            assert probe.running.stop() == 0

    def test_a_polite_stop_answers_what_was_begun_and_exits_cleanly(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            calls = [probe.stub.Do.future(pb.DoRequest(how="sleep:1", name="x"), timeout=LIMIT_S) for _ in range(8)]
            steps = probe.stub.Do.future(pb.DoRequest(how="have it done", name="boss"), timeout=LIMIT_S)
            probe.until_notes("boss inner", bool)
            steps.cancel()
            stopping: list[int] = []
            thread = threading.Thread(target=lambda: stopping.append(probe.running.stop()))
            thread.start()
            assert [call.result().text for call in calls] == ["sleep:1"] * 8
            thread.join(LIMIT_S)
            assert stopping == [0]

    def test_what_was_acknowledged_while_a_process_stopped_is_there(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            acknowledged: list[str] = []
            enough = threading.Event()

            def write() -> None:
                for number in range(100_000):
                    try:
                        probe.write("k", str(number), f"r{number}")
                    except grpc.RpcError:
                        return
                    acknowledged.append(str(number))
                    if number == 50:
                        enough.set()

            writer = threading.Thread(target=write)
            writer.start()
            assert enough.wait(LIMIT_S)
            assert probe.running.stop() == 0
            writer.join(LIMIT_S)
            probe.again()
            assert probe.write("k", "count", "count") - 1 >= len(acknowledged) > 50

    def test_a_taken_port_is_one_clear_line(self, shared: Probe, tmp_path: Path) -> None:
        port = int(shared.running.address.rpartition(":")[2])
        with (
            pytest.raises(Exception, match="is taken: stop what uses it, or choose another port"),
            self.probe(tmp_path / "second", port=port),
        ):
            pass
